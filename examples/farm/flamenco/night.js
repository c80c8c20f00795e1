// A task for each of 4 renders. A failed task is tried again on other workers, and goes on where it was.
const JOB_TYPE = {
  label: "scope-batch: night",
  description: "Renders 4 videos with scope-batch",
  settings: [
    {
      key: "script",
      type: "string",
      subtype: "file_path",
      required: true,
      default: "/shared/film/flamenco/render.sh",
      visible: "submission",
      description: "The script that renders a job by its number, on storage that all workers share",
    },
  ],
};

const LABELS = [
  "night.yaml seed=42 prompt=a harbour at night, lanterns on the w...",
  "night.yaml seed=42 prompt=a harbour in the rain",
  "night.yaml seed=1042 prompt=a harbour at night, lanterns on the w...",
  "night.yaml seed=1042 prompt=a harbour in the rain"
];

function compileJob(job) {
  LABELS.forEach((label, index) => {
    const task = author.Task(label, "misc");
    task.addCommand(author.Command("exec", { exe: "sh", args: [job.settings.script, String(index + 1)] }));
    job.addTask(task);
  });
}

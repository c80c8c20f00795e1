"""Writes jobs for the render managers of studios: a job type for Flamenco, and a job specification for OpenCue.

Neither knows exit codes: each tries a failed task again, as often as it is set up to, and the render goes on.
"""

from __future__ import annotations

import json
from xml.etree import ElementTree

from scope_batch.farm.export.batch import Batch, File, Written

RETRIES = 5
"""Restarts of a failed frame in OpenCue; it takes no more than 16."""


def flamenco_job_type(batch: Batch) -> Written:
    """Return the job type, a script for the folder `scripts` of the manager. Its job renders this batch."""
    text = f"""\
// A task for each of {batch.jobs} renders. A failed task is tried again on other workers, and goes on where it was.
const JOB_TYPE = {{
  label: {_js(f"scope-batch: {batch.name}")},
  description: {_js(f"Renders {batch.jobs} videos with scope-batch")},
  settings: [
    {{
      key: "script",
      type: "string",
      subtype: "file_path",
      required: true,
      default: {_js(batch.script_path)},
      visible: "submission",
      description: "The script that renders a job by its number, on storage that all workers share",
    }},
  ],
}};

const LABELS = {json.dumps(batch.labels, ensure_ascii=False, indent=2)};

function compileJob(job) {{
  LABELS.forEach((label, index) => {{
    const task = author.Task(label, "misc");
    task.addCommand(author.Command("exec", {{ exe: "sh", args: [job.settings.script, String(index + 1)] }}));
    job.addTask(task);
  }});
}}
"""
    name = f"{batch.name}.js"
    submit = f"copy {batch.export}/{name} into the manager's folder scripts, and submit a job of the type {batch.name}"
    return Written((File(name, text), batch.script()), submit)


def _js(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def opencue_spec(batch: Batch) -> Written:
    """Return the specification, for cuebot. `show`, `shot` and `user` are to be set to those of the site."""
    spec = ElementTree.Element("spec")
    for name, value in (("facility", "local"), ("show", "testing"), ("shot", "test"), ("user", "render")):
        ElementTree.SubElement(spec, name).text = value
    job = ElementTree.SubElement(spec, "job", name=batch.name)
    for name, value in (("paused", "False"), ("maxretries", str(RETRIES)), ("autoeat", "False")):
        ElementTree.SubElement(job, name).text = value
    layer = ElementTree.SubElement(ElementTree.SubElement(job, "layers"), "layer", name="render", type="Render")
    values = [("cmd", f"sh {batch.script_path} #IFRAME#"), ("range", f"1-{batch.jobs}"), ("chunk", "1")]
    if batch.gpus:
        values.append(("gpus", str(batch.gpus)))
    for name, value in values:
        ElementTree.SubElement(layer, name).text = value
    ElementTree.SubElement(ElementTree.SubElement(layer, "services"), "service").text = "shell"
    ElementTree.indent(spec)
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE spec PUBLIC "SPI Cue Specification Language" "http://localhost:8080/spcue/dtd/cjsl-1.13.dtd">\n'
    )
    name = f"{batch.name}.xml"
    submit = f"python3 -c 'import opencue, sys; opencue.api.launchSpec(sys.stdin.read())' < {batch.export}/{name}"
    text = f"{head}{ElementTree.tostring(spec, encoding='unicode')}\n"
    return Written((File(name, text), batch.script()), submit)

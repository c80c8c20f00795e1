"""Shows the Python API: read, plan and render a job. Usage: python examples/render.py examples/slate.yaml"""

import sys

from scope_batch import ChunkDone, Event, RenderOptions, load_job, prepare_job, render_job


def watch(event: Event) -> None:
    if isinstance(event, ChunkDone):
        print(f"{event.frames_done}/{event.num_frames} frames, {event.prompt}")


job = load_job(sys.argv[1], ["seed=1042"])
print([(chunk.first_frame, chunk.keep) for chunk in prepare_job(job).chunks])
result = render_job(job, options=RenderOptions(outputs=("out/api.npy",), overwrite=True), report=watch)
print(f"{result.outcome}: {result.frames} frames in {result.outputs[0].path}, {result.render_s:.1f} s")

"""Record what the program answers and writes, and compare two such records.

A change that should alter nothing for users is checked with this script before and after it:

    python tests/pin.py record before.json
    python tests/pin.py record after.json
    python tests/pin.py compare before.json after.json

`record` renders every example, each pipeline on the tiny model set and the slate (MP4, NPY, PNG and latents), then runs
`plan --json`, `schema`, `info`, `models list --json` and some sixty bad jobs, all in this process and with files in a
temporary folder. A record maps the name of a case to its exit code, its texts and the sha256 of every file it wrote.
`compare` prints the number of equal cases and each difference, and exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = "models: tiny\nheight: 64\nwidth: 64\n"
PIPELINES = ("longlive", "streamdiffusionv2", "memflow", "reward-forcing", "krea-realtime-video")
SWITCH = "chunk_specs:\n  - {chunk: 1, text: a stormy sea, transition_num_steps: 2}\n"

RENDERS = {
    **{
        f"{pipeline} {mode}": f"pipeline_id: {pipeline}\n{SMALL}prompt: a red ball\n{extra}"
        for pipeline in PIPELINES
        for mode, extra in (
            ("text", f"num_frames: 21\n{SWITCH}"),
            ("video", "input_path: examples/clip.mp4\nnum_frames: 17\n"),
        )
    },
    "longlive VACE": SMALL + "prompt: a red ball\nnum_frames: 17\nvace_frames: examples/assets/depth.mp4\n"
    "vace_masks: examples/assets/mask.mp4\nvace_length: hold\n",
    "longlive LoRA": SMALL
    + "prompt: a red ball\nnum_frames: 21\nlora_scales: {examples/assets/outline.safetensors: 0.7}\n",
    "longlive processors": SMALL + "prompt: a red ball\nnum_frames: 21\npost_processor_id: [edges, gray]\n",
    "longlive tae": SMALL + "prompt: a red ball\nnum_frames: 21\nvae_type: tae\n",
    "slate text": f"pipeline_id: slate\nheight: 96\nwidth: 128\nprompt: a red ball\nnum_frames: 30\n{SWITCH}",
}

VALUES = ("null", "-1", "x", "[]", "{}", "1e999", "[[1]]", "true", "''")
FIELDS = ("num_frames", "height", "seed", "noise_scale", "prompt", "chunk_specs", "lora_scales", "output", "fps")
BAD_JOBS = {
    **{f"{field}: {value}": f"prompt: a cat\n{field}: {value}\n" for field in FIELDS[:7] for value in VALUES},
    "empty": "",
    "a list": "- a",
    "no prompt": "seed: 1",
    "twice": "prompt: a\nprompt: b",
    "unknown": "prompt: a\nnum_frame: 1\n",
    "pipeline": "prompt: a\npipeline_id: longlve\n",
    "missing": "prompt: a\ninput_path: nowhere.mp4\n",
    "entry": "prompt: a\nchunk_specs: [{chunk: 0, txt: b}]\n",
    "placed twice": "prompt: a\nchunk_specs: [{chunk: 0, frame: 1, text: b}]\n",
}


def capture(*arguments: str) -> dict[str, Any]:
    """Run the command line in this process; returns its exit code, standard output and standard error."""
    from scope_batch.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "stdout": out.getvalue(), "stderr": err.getvalue()}


def sha256_of_files(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def render(job: Path, suffixes: tuple[str, ...]) -> dict[str, Any]:
    shutil.rmtree("out", ignore_errors=True)
    outputs = [part for suffix in suffixes for part in ("-o", f"out/a{suffix}")]
    if "pipeline_id: slate" not in job.read_text():  # it has no latents
        outputs += ["--latents", "out/latents.safetensors"]
    done = capture("render", str(job), "-q", *outputs)
    if done["code"] == 0:
        done["info"] = capture("info", f"out/a{suffixes[0]}")
    return {**done, "files": sha256_of_files(Path("out"))}


def cases(only: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every case with `only` in its name; the working directory holds a link to the examples."""
    for example in sorted(Path("examples").glob("*.yaml")):
        if only in (name := f"render {example.stem}"):
            yield name, render(example, (".mp4", ".npy"))
        if only in (name := f"plan {example.stem}"):
            yield name, capture("plan", "--json", str(example))
    for name, text in RENDERS.items():
        Path("job.yaml").write_text(text)
        if only in f"render {name}":
            yield f"render {name}", render(Path("job.yaml"), (".mp4", ".npy", "/%04d.png", ".mkv"))
        if only in f"plan {name}":
            yield f"plan {name}", capture("plan", "job.yaml")
    for name, text in BAD_JOBS.items():
        Path("job.yaml").write_text(text)
        if only in f"bad job {name}":
            yield f"bad job {name}", capture("plan", "job.yaml")
    for arguments in (("schema",), ("models", "list", "--json"), ("--help",), ("render", "--help"), ("init",)):
        if only in (name := " ".join(arguments)):
            yield name, capture(*arguments)


def record(only: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("SCOPE_BATCH_CACHE", str(Path(folder) / "cache"))
        os.environ["COLUMNS"] = "120"
        os.chdir(folder)
        Path("examples").symlink_to(REPOSITORY / "examples")
        found = {}
        for name, outcome in cases(only):
            print(f"{outcome['code']:3} {name}", file=sys.stderr, flush=True)
            found[name] = outcome
        text = json.dumps(found).replace(json.dumps(str(Path(folder).resolve()))[1:-1], "FOLDER")
    return dict(json.loads(text.replace(json.dumps(folder)[1:-1], "FOLDER")))


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{where} / {key}" if where else key)
    elif before != after:
        yield f"{where}\n  before  {before}\n  after   {after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--only", default="", help="record only the cases with this in their name")
    comparing = verbs.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "record":
        file = arguments.file.resolve()
        file.write_text(json.dumps(record(arguments.only), indent=1, sort_keys=True))
        return 0
    before, after = (json.loads(path.read_text()) for path in (arguments.before, arguments.after))
    names = sorted({*before, *after})
    equal = [name for name in names if before.get(name) == after.get(name)]
    files = [(name, file) for name in names for file in before.get(name, {}).get("files", {})]
    same = sum(before[name]["files"][file] == after.get(name, {}).get("files", {}).get(file) for name, file in files)
    for line in differences(before, after):
        print(line)
    print(f"{len(equal)} of {len(names)} cases equal; {same} of {len(files)} files equal")
    return int(len(equal) != len(names))


if __name__ == "__main__":
    sys.exit(main())

"""Writes a task for SkyPilot, launched once for each job as a managed job on spot machines."""

from __future__ import annotations

import shlex
from typing import Any

from scope_batch.farm.export.batch import EXIT_RETRY, Batch, File, Written, yaml_text

ACCELERATOR = "H100"
MAX_RESTARTS = 3
"""Restarts after exit codes that tell of a lasting fault, or of a bug."""


def skypilot_task(batch: Batch) -> Written:
    """Return the task, and a script that launches it for every job.

    The folder is a bucket, filled from the current folder, so that outputs and work folders outlive the machine. A
    preempted machine is replaced by SkyPilot, and so is one whose render ended with 75.
    """
    resources: dict[str, Any] = {"accelerators": f"{ACCELERATOR}:{batch.gpus}"} if batch.gpus else {}
    resources["use_spot"] = True
    resources["job_recovery"] = {
        "strategy": "EAGER_NEXT_REGION",
        "max_restarts_on_errors": MAX_RESTARTS,
        "recover_on_exit_codes": [EXIT_RETRY],
    }
    task = {
        "name": batch.name,
        "resources": resources,
        "envs": {"JOB": "1"},
        "file_mounts": {batch.folder: {"name": f"{batch.name}-files", "source": ".", "mode": "MOUNT_CACHED"}},
        "setup": "pip install scope-batch\n",
        "run": f'sh {shlex.quote(batch.script_path)} "$JOB"\n',
    }
    name, launcher = f"{batch.name}.yaml", "launch.sh"
    launch = f"""\
#!/bin/sh
# Launches every job as a managed job of its own; call it in the folder that holds the jobs.
for job in $(seq 1 {batch.jobs}); do
  sky jobs launch --yes --async --name "{batch.name}-$job" --env "JOB=$job" "$(dirname "$0")/{name}" || exit
done
"""
    return Written(
        (File(name, yaml_text(task)), File(launcher, launch), batch.script()), f"sh {batch.export}/{launcher}"
    )

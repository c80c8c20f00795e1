"""Writes an Indexed Job for Kubernetes, which tells passing faults from lasting ones by the exit code."""

from __future__ import annotations

import shlex
from typing import Any

from scope_batch.farm.export.batch import EXIT_KILLED, EXIT_RETRY, EXIT_TERMINATED, Batch, File, Written, yaml_text

RETRIES = 20
"""Restarts of one job after passing faults."""
GRACE_S = 120
"""Seconds that an evicted pod has to finish its chunk."""
IMAGE = "scope-batch:latest"
CONTAINER = "render"


def kubernetes_job(batch: Batch) -> Written:
    """Return the manifest. The pods share the folder through the volume claim `NAME-files`.

    A disrupted pod is replaced without being counted; exit code 75 and kills are tried again, up to `RETRIES` times;
    any other exit code fails that job alone.
    """
    passing = [EXIT_RETRY, EXIT_KILLED, EXIT_TERMINATED]
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Count", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": passing}},
        {"action": "FailIndex", "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": passing}},
    ]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": IMAGE,
        "command": ["sh", "-c", f'exec sh {shlex.quote(batch.script_path)} "$((JOB_COMPLETION_INDEX + 1))"'],
        "volumeMounts": [{"name": "files", "mountPath": batch.folder}],
    }
    if batch.gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": batch.gpus}}
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": batch.name},
        "spec": {
            "completionMode": "Indexed",
            "completions": batch.jobs,
            "parallelism": batch.jobs,
            "backoffLimitPerIndex": RETRIES,
            "podFailurePolicy": {"rules": rules},
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": GRACE_S,
                    "containers": [container],
                    "volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": f"{batch.name}-files"}}],
                }
            },
        },
    }
    name = f"{batch.name}.yaml"
    return Written((File(name, yaml_text(manifest)), batch.script()), f"kubectl apply -f {batch.export}/{name}")

"""Writes a job template of Open Job Description, as AWS Deadline Cloud and others take it, with a task for each job."""

from __future__ import annotations

from typing import Any

from scope_batch.farm.export.batch import SCRIPT, Batch, File, Written, yaml_text

GRACE_S = 120
"""Seconds that a cancelled task has to finish its chunk."""


def openjd_template(batch: Batch) -> Written:
    """Return the template. Its parameter is the folder of the script, by default that of the template.

    The format has no rule for exit codes: how often a failed task is tried again is a setting of the scheduler.
    """
    step: dict[str, Any] = {
        "name": "Render",
        "parameterSpace": {
            "taskParameterDefinitions": [{"name": "Job", "type": "INT", "range": f"1-{batch.jobs}"}],
        },
        "script": {
            "actions": {
                "onRun": {
                    "command": "sh",
                    "args": [f"{{{{Param.Export}}}}/{SCRIPT}", "{{Task.Param.Job}}"],
                    "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": GRACE_S},
                }
            }
        },
    }
    if batch.gpus:
        step["hostRequirements"] = {"amounts": [{"name": "amount.worker.gpu", "min": batch.gpus}]}

    folder = {
        "name": "Export",
        "type": "PATH",
        "objectType": "DIRECTORY",
        "dataFlow": "INOUT",
        "default": ".",  # relative to the template
        "description": f"Folder of {SCRIPT}.",
    }
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": batch.name,
        "parameterDefinitions": [folder],
        "steps": [step],
    }
    name = f"{batch.name}.template.yaml"
    submit = f"openjd run {batch.export}/{name} --step Render"
    return Written((File(name, yaml_text(template)), batch.script()), submit)

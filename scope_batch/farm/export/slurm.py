"""Writes a job array for Slurm, whose tasks are put back into the queue where another run can finish them."""

from __future__ import annotations

import shlex

from scope_batch.farm.export.batch import EXIT_RETRY, EXIT_TERMINATED, Batch, File, Written

MAX_RESTARTS = 50
NOTICE_S = 300
"""Seconds before its time limit at which a task is told to stop: it finishes its chunk."""


def slurm_array(batch: Batch) -> Written:
    """Return the script for sbatch.

    A task is requeued when it is preempted or its node fails (by Slurm), after exit code 75, and when its time limit
    comes near (by the script).
    """
    gpus = f"#SBATCH --gres=gpu:{batch.gpus}\n" if batch.gpus else ""
    text = f"""\
#!/bin/bash
#SBATCH --job-name={batch.name}
#SBATCH --array=1-{batch.jobs}
#SBATCH --chdir={batch.folder}
#SBATCH --output={batch.name}-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{NOTICE_S}
{gpus}
render= signalled= late=
stop() {{
  signalled=yes
  [ -z "$render" ] || kill -TERM "$render" 2>/dev/null
}}
trap stop TERM
trap 'late=yes; stop' USR1

sh {shlex.quote(batch.script_path)} "$SLURM_ARRAY_TASK_ID" &
render=$!
wait "$render"
code=$?
while [ -n "$signalled" ]; do  # the signal ended the wait, not the render
  signalled=
  wait "$render"
  again=$?
  [ "$again" = 127 ] || code=$again
done

if [ "$code" = {EXIT_RETRY} ] || {{ [ -n "$late" ] && [ "$code" = {EXIT_TERMINATED} ]; }}; then
  [ "${{SLURM_RESTART_COUNT:-0}}" -ge {MAX_RESTARTS} ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
    name = f"{batch.name}.sbatch"
    return Written((File(name, text), batch.script()), f"sbatch {batch.export}/{name}")

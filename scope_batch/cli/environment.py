"""Sets the environment variables that torch and its companions read when they are imported."""

from __future__ import annotations

import logging
import os
import warnings

QUIET_LIBRARIES = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
QUIET_LOGGERS = ("torchao", "torch.utils._pytree")
"""A warning of torchao about parts that are not used here; diffusers imports it where it is installed."""
DETERMINISTIC_CUBLAS = ":4096:8"
WAIT_POLICY = "PASSIVE"
"""Threads that wait for each other sleep. Spinning, they starve an encoder or a second render on the same cores: a CPU
render beside another busy process was seen to take four times as long."""


def prepare_libraries(*, verbose: bool, deterministic: bool) -> None:
    """Libraries keep their remarks and progress bars to themselves unless asked; cuBLAS repeats itself if it must.

    What the user has set already stays as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", WAIT_POLICY)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", DETERMINISTIC_CUBLAS)
    if not verbose:
        for name, value in QUIET_LIBRARIES.items():
            os.environ.setdefault(name, value)
        for name in QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")

"""What has to be in the environment before torch and its friends are imported."""

from __future__ import annotations

import os
import warnings

QUIET_LIBRARIES = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
DETERMINISTIC_CUBLAS = ":4096:8"


def prepare_libraries(*, verbose: bool, deterministic: bool) -> None:
    """Libraries keep their remarks and progress bars to themselves unless asked; cuBLAS repeats itself if it must.

    What the user has set already stays as it is.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", DETERMINISTIC_CUBLAS)
    if not verbose:
        for name, value in QUIET_LIBRARIES.items():
            os.environ.setdefault(name, value)
        warnings.simplefilter("ignore")

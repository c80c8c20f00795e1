"""Sets the environment variables that torch and its companions read when they are imported."""

from __future__ import annotations

import logging
import os
import warnings

from scope_batch.files.cache import cache_path

QUIET_LIBRARIES = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
QUIET_LOGGERS = ("torchao", "torch.utils._pytree")
"""Loggers that warn about unused parts of torchao, which diffusers imports where it is installed."""
DETERMINISTIC_CUBLAS = ":4096:8"
WAIT_POLICY = "PASSIVE"
"""OpenMP threads sleep while they wait for each other. Spinning threads starve an encoder or a second render on the
same cores: a CPU render beside another busy process took four times as long."""


def library_variables(*, verbose: bool, deterministic: bool) -> dict[str, str]:
    """Return the variables that `prepare_libraries` sets."""
    variables = {"OMP_WAIT_POLICY": WAIT_POLICY}
    if deterministic:
        variables["CUBLAS_WORKSPACE_CONFIG"] = DETERMINISTIC_CUBLAS
    return variables if verbose else variables | QUIET_LIBRARIES


def prepare_libraries(*, verbose: bool, deterministic: bool) -> None:
    """Silence the messages and progress bars of libraries unless `verbose`; make cuBLAS repeatable if `deterministic`.

    Compiled kernels are kept in the cache folder. Variables that the user has set stay as they are. Raises OutputError
    if $SCOPE_BATCH_CACHE is no path.
    """
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache_path("triton").absolute()))
    for name, value in library_variables(verbose=verbose, deterministic=deterministic).items():
        os.environ.setdefault(name, value)
    if not verbose:
        for name in QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")

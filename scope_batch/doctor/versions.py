"""Python and the packages, against what this package asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from scope_batch import __version__
from scope_batch.doctor.finding import Finding

PACKAGE = "scope-batch"
SHOWN = ("torch", "torchao", "diffusers", "transformers", "peft")
"""Said even when all is well; of the others only what is wrong."""


def look() -> Iterator[Finding]:
    python = platform.python_version()
    text = f"{PACKAGE} {__version__}, Python {python}, {platform.platform()}"
    yield Finding("python", "ok", text, values={PACKAGE: __version__, "python": python})
    try:
        requirements = _requirements()
    except metadata.PackageNotFoundError:
        text = f"{PACKAGE} runs without being installed, so nobody knows which versions it asks for"
        yield Finding("package", "warn", text, "pip install it")
        return
    for requirement in requirements:
        finding = _package(requirement)
        if finding.state != "ok" or requirement.name in SHOWN:
            yield finding


def _requirements() -> list[Requirement]:
    """Those of a plain install."""
    wanted = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _package(requirement: Requirement) -> Finding:
    name, wanted = requirement.name, str(requirement.specifier)
    advice = f"pip install '{name}{wanted}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("package", "fault", f"{name} is not installed; {wanted} is needed", advice)
    values = {name: version}
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("package", "fault", f"{name} {version} does not fit; {wanted} is needed", advice, values)
    return Finding("package", "ok", f"{name} {version}", values=values)

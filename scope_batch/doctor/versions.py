"""Python and the packages, against what this package asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata

from packaging.requirements import Requirement

from scope_batch import __version__
from scope_batch.doctor.finding import Finding

PACKAGE = "scope-batch"
SHOWN = ("torch", "diffusers", "transformers", "peft")
"""Said even when all is well; of the others only what is wrong."""
QUANTIZATION = "fp8"
"""The extra that brings what `quantization` needs."""


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
    yield from map(_optional, _requirements(QUANTIZATION))


def _requirements(extra: str = "") -> list[Requirement]:
    """Those of a plain install, or those that an extra adds."""
    wanted = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    asked = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
    return [one for one in asked if not extra or not (one.marker is None or one.marker.evaluate({"extra": ""}))]


def _optional(requirement: Requirement) -> Finding:
    """Without it a render works, all but `quantization`."""
    finding = _package(requirement)
    if finding.state == "ok":
        return finding
    if finding.values:
        return replace(finding, state="warn")
    return Finding("package", "ok", f"{requirement.name} is not installed, so there is no quantization")


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

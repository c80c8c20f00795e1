"""Checks the versions of Python and of the packages against this package's requirements."""

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
"""Packages that are always shown; others are shown only if they are at fault."""
QUANTIZATION = "fp8"
"""The extra with the packages that `quantization` needs."""


def check() -> Iterator[Finding]:
    python = platform.python_version()
    text = f"{PACKAGE} {__version__}, Python {python}, {platform.platform()}"
    yield Finding("python", "ok", text, values={PACKAGE: __version__, "python": python})
    try:
        requirements = _requirements()
    except metadata.PackageNotFoundError:
        text = f"{PACKAGE} is not installed, so the versions of its requirements are unknown"
        yield Finding("package", "warn", text, "pip install it")
        return
    for requirement in requirements:
        finding = _package(requirement)
        if finding.state != "ok" or requirement.name in SHOWN:
            yield finding
    yield from map(_optional, _requirements(QUANTIZATION))


def _requirements(extra: str = "") -> list[Requirement]:
    """Return the requirements of a plain install, or those that an extra adds."""
    all_extras = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    needed = [each for each in all_extras if each.marker is None or each.marker.evaluate({"extra": extra})]
    return [each for each in needed if not extra or not (each.marker is None or each.marker.evaluate({"extra": ""}))]


def _optional(requirement: Requirement) -> Finding:
    """Check a package that only `quantization` needs: a missing one is ok."""
    finding = _package(requirement)
    if finding.state == "ok":
        return finding
    if finding.values:
        return replace(finding, state="warn")
    return Finding("package", "ok", f"{requirement.name} is not installed, so `quantization` is not available")


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

"""Checks that every pipeline and processor of another package can be imported and matches its entry point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scope_batch.core.registry import Registry
from scope_batch.doctor.finding import Finding
from scope_batch.errors import UnavailableError
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS


def check() -> Iterator[Finding]:
    registries: tuple[Registry[Any], ...] = (KNOWN_PIPELINES, PROCESSORS)
    for registry in registries:
        for name in registry.ids():
            if registry.package(name) is not None:
                yield _plugin(registry, name)


def _plugin(registry: Registry[Any], name: str) -> Finding:
    values = {"id": name, "package": registry.package(name)}
    try:
        registry.get(name)
    except UnavailableError as error:
        return Finding("plugin", "fault", str(error), "upgrade that package, or uninstall it", values)
    return Finding("plugin", "ok", f"{registry.where(name)}", values=values)

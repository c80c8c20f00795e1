"""Fields whose feature is not built yet: refused by name when written with another value than their default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import Fault


@dataclass(frozen=True, slots=True)
class Missing:
    """`fields` belong to a feature; `message` says so."""

    fields: tuple[str, ...]
    message: str


MISSING = (
    Missing(("quantization",), "quantization is not available yet"),
)  # fmt: skip

BY_FIELD = {field: missing for missing in MISSING for field in missing.fields}


def refused(model: type[BaseModel], written: Mapping[str, Any]) -> list[Fault]:
    """One fault per field of `model` that is written and cannot be honoured yet."""
    return [
        Fault((name,), BY_FIELD[name].message)
        for name, value in written.items()
        if name in BY_FIELD and name in model.model_fields and _is_refused(model, name, value)
    ]


def _is_refused(model: type[BaseModel], name: str, value: Any) -> bool:
    return value != model.model_fields[name].default and value not in ([], {})

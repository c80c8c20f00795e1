"""A model of the job whose faults come all at once, each at its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from scope_batch.job.faults import Fault, raise_all
from scope_batch.job.prompts import STRICT


class Checked(BaseModel):
    """Null means not given; what the fields alone cannot tell is found by `faults`, together with their own errors."""

    model_config = STRICT

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        raise NotImplementedError

    @classmethod
    def folded(cls, written: dict[str, Any]) -> dict[str, Any]:
        """Older spellings as newer ones."""
        return written

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        written = cls.folded({key: value for key, value in data.items() if value is not None})
        faults = cls.faults(written)
        try:
            made = handler(written)
        except ValidationError as error:
            raise_all(faults, error)
            raise
        raise_all(faults)
        return made

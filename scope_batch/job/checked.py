"""Defines the base of the job's models: it reports all faults of a model at once, each at its place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from scope_batch.job.faults import Fault, raise_all
from scope_batch.job.prompts import STRICT


class Checked(BaseModel):
    """Null means that a field is absent; an unknown key is an error, also if it is null. `faults` checks rules that
    involve several fields; its faults are raised together with the errors of the fields."""

    model_config = STRICT

    @classmethod
    @abstractmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        """Return the faults that involve several fields. `written`: the fields as they are in the job."""

    @classmethod
    def folded(cls, written: dict[str, Any]) -> dict[str, Any]:
        """Return `written` with older spellings replaced by newer ones."""
        return written

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        written = cls.folded(without_nulls(data, cls))
        faults = cls.faults(written)
        try:
            model = handler(written)
        except ValidationError as error:
            if faults:
                raise_all(faults, error)
            raise
        raise_all(faults)
        return model


def without_nulls(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return `data` without the fields of `model` that are null; keys that are not fields of it are kept."""
    return {key: value for key, value in data.items() if value is not None or key not in model.model_fields}

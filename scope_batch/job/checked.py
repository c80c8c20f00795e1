"""A model of the job whose faults come all at once, each at its place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from scope_batch.job.faults import Fault, raise_all
from scope_batch.job.prompts import STRICT


class Checked(BaseModel):
    """Null means not given, and an unknown key is unknown whatever its value. What the fields alone cannot tell is
    found by `faults`, together with their own errors."""

    model_config = STRICT

    @classmethod
    @abstractmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        """Faults that no field can find alone. written: the model's fields as the job gives them."""

    @classmethod
    def folded(cls, written: dict[str, Any]) -> dict[str, Any]:
        """Older spellings as newer ones."""
        return written

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        written = cls.folded(without_nulls(data, cls))
        faults = cls.faults(written)
        try:
            made = handler(written)
        except ValidationError as error:
            if faults:
                raise_all(faults, error)
            raise
        raise_all(faults)
        return made


def without_nulls(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A map without those fields of `model` that are null; keys that it does not have stay."""
    return {key: value for key, value in data.items() if value is not None or key not in model.model_fields}

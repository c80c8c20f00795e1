"""Defines the prompts of a job: one text, or several weighted texts that are blended."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from scope_batch.job.faults import AT_VALUE, Fault, raise_all, shown, wrong

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=False)


class WeightedPrompt(BaseModel):
    model_config = STRICT

    text: str = Field(description="What to show.")
    weight: float = Field(default=1.0, ge=0, description="Share of the blend, relative to the other prompts' weights.")


def as_prompts(value: Any) -> Any:
    """Turn a bare text into a list of one."""
    if isinstance(value, str):
        return ({"text": value},)
    if not isinstance(value, (list, tuple)):
        quotes = "; quotes make a text of it" if isinstance(value, (bool, int, float)) else ""
        raise wrong(f"must be a text or a list of {{text, weight}}, not {shown(value)}{quotes}")
    bare = [(index, item) for index, item in enumerate(value) if isinstance(item, str)]
    message = "must be {{text: ..., weight: ...}}, not {}; a text that holds commas needs quotes"
    raise_all(Fault((index,), message.format(shown(item)), AT_VALUE, value=item) for index, item in bare)
    return value


def check_weights(prompts: tuple[WeightedPrompt, ...]) -> tuple[WeightedPrompt, ...]:
    if not prompts:
        raise wrong("must not be empty")
    if not any(prompt.weight > 0 for prompt in prompts):
        raise wrong("weights must not all be zero")
    return prompts


Prompts = Annotated[
    tuple[WeightedPrompt, ...],
    Strict(False),
    AfterValidator(check_weights),
    BeforeValidator(as_prompts, json_schema_input_type=str | list[WeightedPrompt]),
]

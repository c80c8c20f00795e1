"""Adapts typer's commands: plainer help, and an error for a repeated option that takes one value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

Function = TypeVar("Function", bound=Callable[..., Any])


def _without_types(params: list[Any]) -> list[Any]:
    """Hide the types of flags and named arguments in the help."""
    for param in params:
        if isinstance(param, TyperArgument) or getattr(param, "is_bool_flag", False):
            param.display_type_rich = lambda ctx: None  # noqa: ARG005  (typer passes a context)
    return params


class PlainCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise a usage error if an option that takes one value is repeated; typer would use the last value."""
        written = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=written)
        for param, times in Counter(order).items():
            if times > 1 and isinstance(param, TyperOption) and not (param.multiple or param.is_flag):
                ctx.fail(f"{max(param.opts, key=len)} is given {times} times; it takes one value")
        return rest


class PlainGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Program(typer.Typer):
    """A typer.Typer that makes PlainCommand and PlainGroup objects, and builds them once, at its first call."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=PlainGroup, **settings)

    @cached_property
    def _root(self) -> Any:
        return typer.main.get_command(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._root(*args, **kwargs)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=PlainCommand, **settings)

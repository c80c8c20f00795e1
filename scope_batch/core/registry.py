"""Finds pipelines and processors by id: the built-in ones, and those that other packages add by an entry point.

An entry point's name is the id, its object a spec of the same kind as the built-in ones. Nothing is imported before
its id is asked for, and a fault in one package never shows where it is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from reprlib import Repr
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from scope_batch.errors import JobError, ScopeBatchError, UnavailableError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Named(Protocol):
    @property
    def id(self) -> str: ...


Thing = TypeVar("Thing", bound=Named)
_SHORT = Repr()
_SHORT.maxstring = 60


class Registry(Generic[Thing]):
    """Everything of one kind. `noun` names it in messages, `group` is that of its entry points.

    `builtin`: by id, the thing itself or, where its import would cost something, "module:NAME".
    """

    def __init__(self, noun: str, group: str, kind: type[Thing], builtin: Mapping[str, Thing | str]) -> None:
        self._noun, self._group, self._kind, self._builtin = noun, group, kind, builtin

    def ids(self) -> list[str]:
        """Built-in ones first. Imports nothing."""
        return list(dict.fromkeys((*self._builtin, *sorted(entry_points_of(self._group)))))

    def get(self, id: str) -> Thing:  # noqa: A002  (it is what a job calls it)
        """Raises JobError if there is none, UnavailableError (one line, with the package's name) if it cannot be used:
        its import fails, it is something else than a spec of that id, or two packages bring one."""
        entries = entry_points_of(self._group).get(id, ())
        homes = [*(["scope-batch"] if id in self._builtin else []), *map(package_of, entries)]
        if not homes:
            raise JobError(f"unknown {self._noun} {_SHORT.repr(id)}; available: {', '.join(self.ids())}")
        if len(homes) > 1:
            raise UnavailableError(
                f"the {self._noun} {id!r} comes from {' and from '.join(homes)}: uninstall all but one"
            )
        if entries:
            return self._load(entries[0])
        found = self._builtin[id]
        return getattr(*_named(found)) if isinstance(found, str) else found

    def package(self, id: str) -> str | None:  # noqa: A002  (as above)
        """The package that brings it, "scope-batch-example 0.1.0"; None for what is built in."""
        entries = entry_points_of(self._group).get(id, ())
        return package_of(entries[0]) if entries else None

    def where(self, id: str) -> str | None:  # noqa: A002  (as above)
        """For `foreign`: "the pipeline 'x' of scope-batch-example 0.1.0"; None for what is built in."""
        package = self.package(id)
        return None if package is None else f"the {self._noun} {id!r} of {package}"

    def _load(self, entry: EntryPoint) -> Thing:
        where = f"{self.where(entry.name)} ({entry.value})"
        with foreign(where):
            found = entry.load()
        if not isinstance(found, self._kind):
            raise UnavailableError(f"{where}: is no {self._kind.__name__} but a {type(found).__name__}")
        if found.id != entry.name:
            raise UnavailableError(f"{where}: calls itself {found.id!r}; the entry point must have that name")
        return found


@cache
def entry_points_of(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """By name, in the order in which the packages are found."""
    from importlib.metadata import entry_points  # reads a file of every installed package

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def package_of(entry: EntryPoint) -> str:
    """ "scope-batch-example 0.1.0"."""
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@contextmanager
def foreign(where: str | None) -> Iterator[None]:
    """Around code of another package: what it raises becomes one line that begins with `where`; None = our own code."""
    try:
        yield
    except (ScopeBatchError, MemoryError):
        raise
    except Exception as error:  # whatever it is, it is not a bug of this program
        if where is None:
            raise
        said = " ".join(str(error).split())
        raise UnavailableError(f"{where}: {type(error).__name__}: {said}".rstrip(": ")) from error


def _named(reference: str) -> tuple[object, str]:
    module, _, name = reference.partition(":")
    return import_module(module), name

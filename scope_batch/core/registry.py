"""Finds pipelines and processors by id: the built-in ones, and those that other packages add by an entry point.

An entry point's name is the id, its object a spec like the built-in ones. A package is imported only when its id is
requested, so an error in it affects only jobs that use it.
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
    """All pipelines, or all processors. `noun` names one in messages, `group` is the group of its entry points.

    `builtin`: id -> the spec itself, or "module:NAME" if it should be imported only when needed.
    """

    def __init__(self, noun: str, group: str, kind: type[Thing], builtin: Mapping[str, Thing | str]) -> None:
        self._noun, self._group, self._kind, self._builtin = noun, group, kind, builtin

    def ids(self) -> list[str]:
        """Return all ids, the built-in ones first. Imports nothing."""
        return list(dict.fromkeys((*self._builtin, *sorted(entry_points_of(self._group)))))

    def get(self, id: str) -> Thing:  # noqa: A002  (the name of the field)
        """Return the spec. Raises JobError for an unknown id; UnavailableError, with the package's name, if the import
        fails, the object is not a spec of that id, or two packages provide one.
        """
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
        spec = self._builtin[id]
        return getattr(*_module_and_name(spec)) if isinstance(spec, str) else spec

    def package(self, id: str) -> str | None:  # noqa: A002  (as above)
        """Return the package that provides it, "scope-batch-example 0.1.0"; None for a built-in one."""
        entries = entry_points_of(self._group).get(id, ())
        return package_of(entries[0]) if entries else None

    def where(self, id: str) -> str | None:  # noqa: A002  (as above)
        """Return "the pipeline 'x' of scope-batch-example 0.1.0" for `foreign`; None for a built-in one."""
        package = self.package(id)
        return None if package is None else f"the {self._noun} {id!r} of {package}"

    def _load(self, entry: EntryPoint) -> Thing:
        where = f"{self.where(entry.name)} ({entry.value})"
        with foreign(where):
            loaded = entry.load()
        if not isinstance(loaded, self._kind):
            raise UnavailableError(f"{where}: is a {type(loaded).__name__}, expected a {self._kind.__name__}")
        if loaded.id != entry.name:
            raise UnavailableError(f"{where}: its id is {loaded.id!r}; the entry point must have that name")
        return loaded


@cache
def entry_points_of(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points by name, in the order of discovery."""
    from importlib.metadata import entry_points  # reads a file of every installed package

    entries: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        entries[entry.name] = (*entries.get(entry.name, ()), entry)
    return entries


def package_of(entry: EntryPoint) -> str:
    """Return name and version, "scope-batch-example 0.1.0"."""
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@contextmanager
def foreign(where: str | None) -> Iterator[None]:
    """Turn errors of another package's code into one line that begins with `where`. None: leave errors as they are."""
    try:
        yield
    except (ScopeBatchError, MemoryError):
        raise
    except Exception as error:  # any error here is a bug of the other package
        if where is None:
            raise
        message = " ".join(str(error).split())
        raise UnavailableError(f"{where}: {type(error).__name__}: {message}".rstrip(": ")) from error


def _module_and_name(reference: str) -> tuple[object, str]:
    module, _, name = reference.partition(":")
    return import_module(module), name

"""Reads .pt, .pth and .safetensors files into tensors without running code, with at most one copy in memory.

A large pickle is converted once to a safetensors file in the cache folder, which is then memory-mapped. Other files are
never mapped: if a mapped file shrinks, the process dies of SIGBUS. Files in the cache are never rewritten in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files import cache
from scope_batch.files.access import is_file, reading
from scope_batch.files.kinds import START_BYTES, stand_in
from scope_batch.files.safetensors_header import SafetensorsHeader, read_safetensors_header
from scope_batch.models import shapes_file
from scope_batch.models.pickle_shapes import UNREADABLE_PICKLE, check_archive

State = dict[str, Tensor]
T = TypeVar("T")

CONVERT_FROM_BYTES = 128 << 20
"""Pickles of this size and above are converted; smaller ones are faster to read again."""

_WRAPPERS = ("generator", "generator_lora", "state_dict", "model_state_dict", "model", "module")
_PICKLES = {".pt", ".pth"}
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "BOOL": torch.bool,
}
"""Names of dtypes in safetensors files."""


def read_checkpoint(path: Path, containing: str = "") -> State:
    """Return the tensors of a checkpoint by key, on the CPU, in the file's dtypes. Treat them as read-only.

    containing  return only tensors whose key contains this; others are not read from a safetensors file.

    An inner dictionary ("generator", "generator_lora", "state_dict" ...) is unwrapped. The prefix `model.` is removed
    if every key has it. Raises MissingInputError, or JobError if the file is damaged, no checkpoint, or holds code.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        return _without_model_prefix(_read_safetensors(path, containing))
    state = _read_whole_pickle(path)
    return {key: tensor for key, tensor in state.items() if containing in key} if containing else state


def _read_whole_pickle(path: Path) -> State:
    if path.stat().st_size < CONVERT_FROM_BYTES:
        return _read_pickle(path)
    return _read_converted(path)


def read_header(path: Path) -> State:
    """Return tensors on `meta` with the keys, shapes and dtypes of `read_checkpoint`; reads only the file's header."""
    if path.suffix == shapes_file.SUFFIX:
        return shapes_file.read_shapes_file(path)
    path = _existing(path)
    if path.suffix != ".safetensors":
        return _read_pickle(path, device="meta")
    entries = _safetensors_header(path).tensors
    return _without_model_prefix(
        {key: torch.empty(entry.shape, dtype=_DTYPES[entry.dtype], device="meta") for key, entry in entries.items()}
    )


def read_shapes(path: Path) -> dict[str, torch.Size]:
    """Return shapes with the keys of `read_checkpoint`; reads only the file's header."""
    return {key: tensor.shape for key, tensor in read_header(path).items()}


def _existing(path: Path) -> Path:
    if not is_file(path):
        raise MissingInputError(f"{path}: no such file")
    if path.suffix not in {*_PICKLES, ".safetensors"}:
        raise JobError(f"{path}: not a checkpoint; .safetensors, .pt and .pth can be read")
    with _reading(path), path.open("rb") as file:
        what = stand_in(file.read(START_BYTES))
    if what:
        raise JobError(f"{path}: is {what}")
    return path


def _read_safetensors(path: Path, containing: str) -> State:
    _safetensors_header(path)
    with _reading(path):
        if containing:
            with safe_open(path, "pt", backend="pread") as file:
                return {key: file.get_tensor(key) for key in file.keys() if containing in key}  # noqa: SIM118  (no mapping)
        return load_file(path, backend="pread")  # type: ignore[no-any-return]  # a user's file is read, not mapped


def _safetensors_header(path: Path) -> SafetensorsHeader:
    """Read the header; unlike the library, refuse a key that appears twice."""
    with reading(path), path.open("rb") as file:
        return read_safetensors_header(file, str(path))


def _read_converted(path: Path) -> State:
    """Map the pickle's conversion. Convert it first if there is none, it is damaged, or the pickle has changed."""
    name = f"{path.stem}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}-"
    with _reading(path):
        fingerprint = cache.file_fingerprint(path)
    target = cache.cache_folder("converted") / f"{name}{fingerprint}.safetensors"
    with cache.lock(target.with_name(name.rstrip("-"))):
        if cache.is_sound(target):
            return _map(target)
        state = _read_pickle(path)
        try:
            for stale in target.parent.glob(f"{name}*.safetensors"):
                cache.remove(stale)
            _write(state, target)
        except (OSError, SafetensorError):
            # If the cache is full or read-only, the pickle is read again on the next start.
            return state
        del state
        return _map(target)


def _map(conversion: Path) -> State:
    """Return tensors that are views of the mapped file. Its checksum was verified, so no error is expected."""
    return load_file(conversion)  # type: ignore[no-any-return]  # safetensors is untyped


def _write(state: State, target: Path) -> None:
    part = target.with_suffix(".part")
    try:
        save_file(_storable(state), part)
        with part.open("rb+") as file:
            cache.flush_to_disk(file)
        part.replace(target)
        cache.seal(target)
    finally:
        part.unlink(missing_ok=True)


def _storable(state: State) -> State:
    """Make tensors contiguous and give each its own memory, as safetensors requires."""
    seen: set[int] = set()
    out: State = {}
    for key, tensor in state.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        out[key] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
    return out


def _read_pickle(path: Path, device: str = "cpu") -> State:
    with _reading(path):
        check_archive(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_placeholders(path)):
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location=device, weights_only=True)
        return _without_model_prefix(_unwrap(loaded, path))


class Inert:
    """Replaces any class or function that a pickle names; it accepts all arguments and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...


def _placeholders(path: Path) -> list[Any]:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return []  # the format before torch 1.6: tensors only
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [(type("Inert", (Inert,), {}), name) for name in names]


def _unwrap(loaded: object, path: Path) -> State:
    if not isinstance(loaded, Mapping):
        raise JobError(f"{path}: holds {_kind(loaded)}, not a dictionary of tensors")
    if tensors := {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}:
        return tensors
    inner = [key for key, value in loaded.items() if isinstance(value, Mapping)]
    wrappers = [key for key in _WRAPPERS if key in inner] or (inner if len(inner) == 1 else [])
    if not wrappers:
        raise JobError(f"{path}: holds no tensors; its keys are {_first(map(str, loaded))}")
    return _unwrap(loaded[wrappers[0]], path)


def _kind(value: object) -> str:
    return "code or objects (never loaded)" if isinstance(value, Inert) else f"a {type(value).__name__}"


def _first(names: Iterator[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (" ..." if len(listed) > 5 else "") if listed else "none"


def _without_model_prefix(entries: dict[str, T]) -> dict[str, T]:
    if entries and all(key.startswith("model.") for key in entries):
        return {key.removeprefix("model."): value for key, value in entries.items()}
    return entries


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error that torch or safetensors raises on a damaged or foreign file into a JobError of one line."""
    try:
        with reading(path):
            yield
    except SafetensorError as error:
        raise JobError(f"{path}: not a readable safetensors file, or truncated ({_line(error)})") from error
    except UNREADABLE_PICKLE as error:
        _refuse_pickle(path, error)


def _refuse_pickle(path: Path, error: BaseException) -> NoReturn:
    if code := re.search(r"GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)", str(error)):
        raise JobError(
            f"{path}: holds code ({code[1] or code[2]}), which is never run; only tensors are read"
        ) from error
    raise JobError(f"{path}: not a readable checkpoint: truncated, damaged or not written by torch.save") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

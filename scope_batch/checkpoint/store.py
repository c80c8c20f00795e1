"""Stores the chunks of a render as they left the engine, and the streaming state before some of them.

Everything lies in one folder, whose owner holds a lock elsewhere:

    chunks.jsonl              what is committed (see `manifest`): first what the render is made from, then a row for
                              each chunk and each state, with sizes and checksums
    00012.frames              frames of chunk 12, uint8 [T, H, W, 3] in C order; 00012.latents float32 [F, 16, H/8, W/8]
    00012.state               the streaming state before chunk 12

A file counts only with its row, and only while its bytes have the row's checksum.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_batch.checkpoint.files import bytes_of, described, is_sound, pieces, read_array, write_file
from scope_batch.checkpoint.manifest import Manifest, Row, open_plain, read_manifest, sync_folder
from scope_batch.checkpoint.provenance import Difference, Provenance, Texts, differences
from scope_batch.core.engine import ByteWriter
from scope_batch.core.failpoint import failpoint
from scope_batch.core.frames import Frames

VERSION = 1
"""Raised whenever files of an older version can no longer be continued from."""
STORE = "chunks"
"""Name of the folder inside a work folder that holds all this."""
MANIFEST = "chunks.jsonl"


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A committed chunk; see `scope_batch.core.engine.Generated`. Reading raises OutputError."""

    folder: Path
    index: int
    row: Row

    def frames(self) -> Frames:
        frames: Frames = read_array(self.folder / f"{self.index:05d}.frames", np.uint8, self.row["frames"])
        return frames

    def latents(self) -> NDArray[np.float32] | None:
        if self.row["latents"] is None:
            return None
        return read_array(self.folder / f"{self.index:05d}.latents", np.float32, self.row["latents"])

    def is_sound(self) -> bool:
        """The files hold what the row says."""
        frames, latents = self.row["frames"], self.row["latents"]
        return is_sound(self.folder / f"{self.index:05d}.frames", frames) and (
            latents is None or is_sound(self.folder / f"{self.index:05d}.latents", latents)
        )


@dataclass(frozen=True, slots=True)
class StoredState:
    """A committed streaming state."""

    path: Path
    row: Row

    def is_sound(self) -> bool:
        """The file holds what the row says. It is read as a whole."""
        return is_sound(self.path, self.row)


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds of a render.

    chunks       the committed chunks that are those of this render, from the first one on.
    states       chunk -> the streaming state before it; none is beyond `chunks`.
    changed      in what the first chunk that differs, or the render as a whole, differs from the one that left it.
    environment  the machine and the packages that made them.
    damaged      what is not as it was written.
    """

    chunks: tuple[StoredChunk, ...] = ()
    states: Mapping[int, StoredState] = field(default_factory=dict)
    changed: tuple[Difference, ...] = ()
    environment: Texts = field(default_factory=dict)
    damaged: tuple[str, ...] = ()


def look_into(folder: Path, provenance: Provenance, *, latents: bool) -> Found:
    """What `folder` holds of the render that `provenance` describes; nothing is changed.

    latents  chunks without latents do not count.
    Raises OSError if the folder cannot be read.
    """
    rows, bad_line = read_manifest(folder / MANIFEST)
    if not rows:
        damage = (f"{MANIFEST} is damaged: no stored chunk is used",)
        return Found(damaged=damage if os.path.lexists(folder / MANIFEST) else ())
    header = rows[0]
    if header.get("kind") != "render" or header.get("version") != VERSION:
        old, new = str(header.get("version")), str(VERSION)
        return Found(changed=(Difference(None, "version of the work folder", old, new),))
    changed = differences(header.get("engine", {}), provenance.engine)
    if changed:
        return Found(changed=tuple(changed))
    chunks, changed, damaged = _same_chunks(folder, rows, provenance.chunks, latents=latents)
    if bad_line is not None:
        damaged.append(f"line {bad_line} of {MANIFEST} is damaged: nothing from there on is used")
    states = {}
    for row in rows:
        if row["kind"] == "state" and 0 < row["chunk"] <= len(chunks):
            path = folder / f"{row['chunk']:05d}.state"
            if os.path.lexists(path):  # else it was removed when a newer one was written
                states[row["chunk"]] = StoredState(path, row["file"])
    environment = header.get("environment", {})
    return Found(tuple(chunks), states, tuple(changed), environment, tuple(damaged))


def find_manifest(folder: Path) -> Path | None:
    """The folder with the manifest: `folder` itself, or the one inside it; None if there is none."""
    return next((place for place in (folder / STORE, folder) if (place / MANIFEST).is_file()), None)


def _same_chunks(
    folder: Path, rows: Sequence[Row], wanted: Sequence[Texts], *, latents: bool
) -> tuple[list[StoredChunk], list[Difference], list[str]]:
    committed = {row["chunk"]: row for row in rows if row["kind"] == "chunk"}
    chunks: list[StoredChunk] = []
    for index, inputs in enumerate(wanted):
        row = committed.get(index)
        if row is None:
            break
        if changed := differences(row["inputs"], inputs, index):
            return chunks, changed, []
        chunk = StoredChunk(folder, index, row)
        if latents and row["latents"] is None:
            return chunks, [Difference(None, "--latents", "not kept", "asked for")], []
        if not chunk.is_sound():
            return chunks, [], [f"stored chunk {index} is damaged: it is generated again, with all after it"]
        chunks.append(chunk)
    return chunks, [], []


class ChunkStore:
    """Adds chunks and states to a folder. Every method raises OSError."""

    def __init__(self, folder: Path, provenance: Provenance, found: Found) -> None:
        """Begin with what was `found` in this very folder, or in another one; everything else in `folder` goes."""
        self.folder = folder
        self._provenance = provenance
        self._lock = Lock()  # chunks come from the writer's thread, states from another
        self._kept: set[int] = set()
        """States that stay when later ones are committed."""
        self._rows: list[Row] = [
            {
                "kind": "render",
                "version": VERSION,
                "engine": dict(provenance.engine),
                "environment": dict(provenance.environment),
            }
        ]
        folder.mkdir(exist_ok=True)
        failpoint("store-made")
        self._take_over(found)
        self._manifest = Manifest(folder / MANIFEST, self._rows)
        try:
            failpoint("store-begun")
            self._sweep()
        except BaseException:
            self._manifest.close()
            raise

    def has_state(self, index: int) -> bool:
        """The streaming state before chunk `index` is committed."""
        with self._lock:
            return any(row["kind"] == "state" and row["chunk"] == index for row in self._rows)

    def put_chunk(self, index: int, frames: Frames, latents: NDArray[np.float32] | None) -> bool:
        """Commit a chunk. False if one that is stored already holds the same bytes, which then stays.

        Frames that differ from those stored take their place, and everything after them goes.
        """
        row: Row = {"kind": "chunk", "chunk": index, "inputs": dict(self._provenance.chunks[index])}
        row["frames"] = described(frames)
        row["latents"] = None if latents is None else described(latents)
        with self._lock:
            stored = next((old for old in self._rows if old["kind"] == "chunk" and old["chunk"] == index), None)
        if stored is not None and stored == row | ({"latents": stored["latents"]} if latents is None else {}):
            return False
        if stored is not None:
            self.forget(index)
        failpoint("chunk-frames")
        write_file(self.folder / f"{index:05d}.frames", lambda file: file.write(bytes_of(frames)))
        if latents is not None:
            failpoint("chunk-latents")
            write_file(self.folder / f"{index:05d}.latents", lambda file: file.write(bytes_of(latents)))
        sync_folder(self.folder)
        failpoint("chunk-synced")
        self._append(row)
        self._remove_other_states(index + 1)
        return True

    def put_state(self, index: int, write: Callable[[ByteWriter], Any], keep: Sequence[int]) -> None:
        """Commit the streaming state before chunk `index`. The states before other chunks go, except `keep`, as soon as
        the chunks before it are committed."""
        failpoint("state-begin")
        file = write_file(self.folder / f"{index:05d}.state", write)
        sync_folder(self.folder)
        failpoint("state-synced")
        self._kept = {*keep}
        self._append({"kind": "state", "chunk": index, "file": file})
        self._remove_other_states(index)

    def _remove_other_states(self, index: int) -> None:
        """Remove all states but that before chunk `index` and those to keep, if a render can continue from it."""
        with self._lock:
            committed = {(row["kind"], row.get("chunk")) for row in self._rows}
            if ("state", index) not in committed or (index and ("chunk", index - 1) not in committed):
                return
            kept = {index, *self._kept}
            others = {row["chunk"] for row in self._rows if row["kind"] == "state" and row["chunk"] not in kept}
            self._rows = [row for row in self._rows if row["kind"] != "state" or row["chunk"] in kept]
        for other in others:
            failpoint("state-remove")
            (self.folder / f"{other:05d}.state").unlink(missing_ok=True)

    def forget(self, index: int) -> None:
        """Remove chunk `index`, all that follow it, and the states after it."""
        with self._lock:
            self._rows = [row for row in self._rows if row["kind"] == "render" or _before(row, index)]
            self._manifest.close()
            self._manifest = Manifest(self.folder / MANIFEST, self._rows)
            kept = {row["chunk"] for row in self._rows if row["kind"] == "state"}
        for path in self.folder.glob("*.*"):
            number, _, kind = path.name.partition(".")
            follows = kind in ("frames", "latents") and int(number) >= index
            if follows or (kind == "state" and int(number) not in kept):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        self._manifest.close()

    def _append(self, row: Row) -> None:
        with self._lock:
            self._manifest.append(row)
            self._rows.append(row)

    def _take_over(self, found: Found) -> None:
        """Link, or copy, what another folder holds; rows in the order in which a render would have written them."""
        for chunk in found.chunks:
            self._rows.append(chunk.row)
            self._adopt(chunk.folder, f"{chunk.index:05d}.frames")
            if chunk.row["latents"] is not None:
                self._adopt(chunk.folder, f"{chunk.index:05d}.latents")
        for index, state in found.states.items():
            self._rows.append({"kind": "state", "chunk": index, "file": state.row})
            self._adopt(state.path.parent, state.path.name)

    def _adopt(self, source: Path, name: str) -> None:
        if source == self.folder:
            return
        target = self.folder / name
        target.unlink(missing_ok=True)
        try:
            os.link(source / name, target)
        except OSError:  # another disk, or one that knows no links
            with open_plain(source / name) as old:
                write_file(target, lambda new: [new.write(piece) for piece in pieces(old)])

    def _sweep(self) -> None:
        """Remove every file without a row."""
        names = {MANIFEST}
        for row in self._rows[1:]:
            suffixes = ("state",) if row["kind"] == "state" else ("frames", "latents")
            names |= {f"{row['chunk']:05d}.{suffix}" for suffix in suffixes}
        for path in self.folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _before(row: Row, index: int) -> bool:
    return bool(row["chunk"] < index if row["kind"] == "chunk" else row["chunk"] <= index)

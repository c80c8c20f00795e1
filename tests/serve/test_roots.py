from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.serve.roots import Root

SECRET = "the secret outside"
ATTACKS = [
    "",
    ".",
    "./",
    "..",
    "../secret.txt",
    "sub/../../secret.txt",
    "sub/../inside.txt",
    "./../secret.txt",
    "....//secret.txt",
    "{outside}/secret.txt",
    "{root}/../secret.txt",
    "{root}",
    "{root}x/secret.txt",
    "//{outside}/secret.txt",
    "/",
    "/etc/passwd",
    "/proc/self/environ",
    "/proc/self/root/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "link_out.txt",
    "link_out_relative.txt",
    "link_loop",
    "link_folder_out/secret.txt",
    "link_to_proc/environ",
    "link_up_and_out.txt",
    "link_to_link_out.txt",
    "link_absolute_out_and_in.txt",
    "link_dangling.txt",
    "link_to_folder",
    "link_to_itself/x",
    "link_folder_in/../../secret.txt",
    "{root}/link_out.txt",
    "{root}/link_folder_out/secret.txt",
    "sub",
    "sub/",
    "sub/pipe",
    "socket",
    "device",
    "inside.txt/x",
    "inside.txt\0",
    "inside.txt\0.png",
    "a" * 4096,
    "sub/" * 1024 + "x",
    "inside.txt\n",
    "inside.txt ",
    "\x1b[2Jinside.txt",
    "\u202etxt.edisni",
    "-rf",
    "$(id)",
    "~/secret.txt",
    "${HOME}/secret.txt",
    "..\\secret.txt",
    "%2e%2e/secret.txt",
    "file:///etc/passwd",
    "http://evil.example/x",
    "inside\udcff.txt",
]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    outside, folder = tmp_path / "outside", tmp_path / "outside" / "root"
    (folder / "sub").mkdir(parents=True)
    (outside / "secret.txt").write_text(SECRET)
    (outside / "rootx").mkdir()
    (outside / "rootx" / "secret.txt").write_text(SECRET)
    (folder / "inside.txt").write_text("inside")
    (folder / "sub" / "deep.txt").write_text("deep")
    (folder / "link_out.txt").symlink_to(outside / "secret.txt")
    (folder / "link_out_relative.txt").symlink_to("../secret.txt")
    (folder / "link_in.txt").symlink_to("inside.txt")
    (folder / "link_loop").symlink_to("link_loop")
    (folder / "link_folder_out").symlink_to(outside)
    (folder / "link_folder_in").symlink_to("sub")
    (folder / "link_absolute_in.txt").symlink_to(folder / "sub" / "deep.txt")
    (folder / "sub" / "link_up.txt").symlink_to("../inside.txt")
    (folder / "link_to_link.txt").symlink_to("link_folder_in/link_up.txt")
    (folder / "link_up_and_out.txt").symlink_to("sub/../../secret.txt")
    (folder / "link_to_link_out.txt").symlink_to("link_out.txt")
    (folder / "link_absolute_out_and_in.txt").symlink_to(f"{folder}/../root/../secret.txt")
    (folder / "link_dangling.txt").symlink_to("nothing")
    (folder / "link_to_folder").symlink_to("sub")
    (folder / "link_to_itself").symlink_to(".")
    (folder / "link_to_proc").symlink_to("/proc/self")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "sub" / "pipe")
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
    return Root(folder, "--assets-root")


_opened: list[str] | None = None


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event in ("open", "os.remove", "os.rename"):
        _opened.append(str(arguments[0]))


sys.addaudithook(_record)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Every name that is opened, removed or renamed during the test."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda name: ascii(name)[:40])
def test_no_name_leads_outside_the_root(attack: str, root: Root, opened: list[str]) -> None:
    name = attack.replace("{root}", str(root.folder)).replace("{outside}", str(root.folder.parent))
    with pytest.raises((JobError, MissingInputError)) as caught:
        root.open_file(name)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    absolute = [path for path in opened if path.startswith("/")]
    assert [path for path in absolute if path != str(root.folder)] == []
    assert [path for path in opened if ".." in Path(path).parts] == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("link_in.txt", "inside.txt"),
        ("link_folder_in/deep.txt", "sub/deep.txt"),
        ("link_absolute_in.txt", "sub/deep.txt"),
        ("sub/link_up.txt", "inside.txt"),
        ("link_to_link.txt", "inside.txt"),
        ("link_to_itself/link_to_itself/inside.txt", "inside.txt"),
    ],
)
def test_a_link_that_stays_below_the_root_is_followed(name: str, place: str, root: Root, opened: list[str]) -> None:
    with os.fdopen(root.open_file(name)) as file:
        assert file.read() in ("inside", "deep")
    assert [path for path in opened if path.startswith("/")] == [str(root.folder)]
    assert root.path_of(name) == root.folder / place


@pytest.mark.parametrize("name", ["inside.txt", "./inside.txt", "sub/deep.txt", "sub//deep.txt", "{root}/sub/deep.txt"])
def test_a_file_below_the_root_opens(name: str, root: Root) -> None:
    name = name.replace("{root}", str(root.folder))
    with os.fdopen(root.open_file(name)) as file:
        assert file.read() in ("inside", "deep")
    assert root.path_of(name).read_text() in ("inside", "deep")


def test_the_root_itself_may_be_a_link(root: Root, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to(root.folder)
    linked = Root(tmp_path / "shortcut", "--lora-root")
    assert linked.path_of("inside.txt").read_text() == "inside"
    assert linked.path_of(str(root.folder / "inside.txt")).read_text() == "inside"


def test_a_refusal_leaves_no_descriptor_open(root: Root) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for name in ("sub/pipe", "link_out.txt", "sub/none", "sub", "link_folder_out/secret.txt", "link_loop"):
        with pytest.raises((JobError, MissingInputError)):
            root.open_file(name)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_the_list_holds_files_and_links_to_files_below_the_root(root: Root) -> None:
    (root.folder / ".hidden").write_text("x")
    links = ["link_absolute_in.txt", "link_in.txt", "link_to_link.txt"]
    assert [*root.names()] == ["inside.txt", *links, "sub/deep.txt", "sub/link_up.txt"]


def test_a_root_that_is_not_there_lists_nothing(tmp_path: Path) -> None:
    root = Root(tmp_path / "none", "--lora-root")
    assert [*root.names()] == []
    with pytest.raises(MissingInputError, match="no such file under --lora-root"):
        root.open_file("x")

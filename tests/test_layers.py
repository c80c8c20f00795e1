"""Who may import whom, read from the source; and what never brings torch along."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "scope_batch"

FORBIDDEN = {
    "laws": {"*"},
    "sizes": {"*"},
    "errors": {"*"},
    "file_kinds": {"*"},
    "image_series": {"*"},
    "events": {"*"},
    "files": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "material": {"*"},
    "memory": {"*"},
    "sound": {"*"},
    "frame_size": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "timing": {"pipelines", "processors", "chunk", "session", "job", "plan", "media", "sinks", "engine", "models"},
    "safetensors_header": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "plugins": {"pipelines", "processors", "chunk", "session", "job", "plan", "media", "sinks", "engine", "models"},
    "processors": {"pipelines", "chunk", "session", "job", "plan", "media", "sinks", "engine", "models", "render"},
    "chunk": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "pipelines": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "job": {"plan", "importing", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "plan": {"importing", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "importing": {"media", "sinks", "engine", "models", "render", "cli", "progress"},
    "media": {"job", "plan", "sinks", "engine", "models", "render", "cli", "progress"},
    "sinks": {"job", "plan", "engine", "models", "render", "cli", "progress"},
    "models": {"job", "plan", "media", "sinks", "engine", "render", "cli", "progress"},
    "engine": {"job", "plan", "media", "sinks", "render", "cli", "progress"},
    "slate": {"job", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "progress": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli"},
    "options": {"*"},
    "held": {"job", "plan", "media", "sinks", "engine", "models", "render", "cli", "progress"},
    "engines": {"render", "cli", "progress", "engine", "plan", "media", "sinks"},
    "render": {"cli", "progress", "engine", "doctor"},
    "doctor": {"cli", "progress", "engine"},
}
TORCH_LIVES_IN = {"engine", "models", "doctor"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module a file names in an import statement, wherever it stands (types alone do not count)."""
    found: set[str] = set()
    for node in _outside_type_checking(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _outside_type_checking(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return []
    return [node, *(below for child in ast.iter_child_nodes(node) for below in _outside_type_checking(child))]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("scope_batch.")} - {room, "__version__"}
    forbidden = FORBIDDEN.get(room, set())
    assert not (ours if forbidden == {"*"} else ours & forbidden)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_lives_in_the_engine_and_the_model_files(path: Path) -> None:
    if room_of(path) not in TORCH_LIVES_IN:
        assert not {name.split(".")[0] for name in imports_of(path)} & {"torch", "diffusers", "transformers", "peft"}


EXPORT = '{"version": "2.1", "prompts": [{"startTime": 0, "endTime": 2, "prompts": [{"text": "a cat"}]}]}'


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["schema"],
        ["init"],
        ["import", "export.json"],
        ["plan", "job.yaml"],
        ["models", "list"],
        ["models", "path", "job.yaml"],
        ["render", "--dry-run", "job.yaml"],
    ],
    ids=" ".join,
)
def test_verbs_that_load_nothing_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("prompt: a cat\nnum_frames: 30\n")
    (tmp_path / "export.json").write_text(EXPORT)
    code = "import sys; from scope_batch.__main__ import main; code = main(sys.argv[1:]); assert code == 0, code; "
    code += "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""Prints the shape of the package as numbers: sizes, functions called once, import circles, lazy imports, names.

    python tests/bench/shape.py [PACKAGE_FOLDER]

Rooms are the entries at the top of the package: folders, and modules beside them. An import inside a function counts as
an arrow between rooms like any other; it is *lazy* where it names the package itself. Imports that only types need
(under TYPE_CHECKING) do not count.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "scope_batch"
RIDDLES = ("What", "Whether", "How", "Which", "Of", "Where", "Who", "Whose", "That", "From", "To", "With", "For")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def imports(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every imported module of the tree, and True if the import is inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, in_function
            yield from ((f"{node.module}.{alias.name}", in_function) for alias in node.names)
        yield from imports(node, in_function or isinstance(node, FUNCTIONS))


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected groups of more than one folder."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for end in arrows.get(todo.pop(), ()):
                if end not in seen:
                    seen.add(end)
                    todo.append(end)
        return seen

    reached = {room: reach(room) for room in arrows}
    groups: list[set[str]] = []
    for room in arrows:
        group = {other for other in reached[room] if room in reached.get(other, ())}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main(package: Path = PACKAGE) -> int:
    files = sorted(package.rglob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in files}
    lines = [len(path.read_text().splitlines()) for path in files]
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    sizes = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    private = [node.name for node in functions if node.name.startswith("_") and not node.name.startswith("__")]
    uses: Counter[str] = Counter()
    for tree in trees.values():
        uses.update(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        uses.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    once = [name for name in private if uses[name] <= 1]

    arrows: dict[str, set[str]] = {}
    lazy: set[tuple[str, str]] = set()
    modules = {".".join((package.name, *path.relative_to(package).with_suffix("").parts)) for path in files}
    modules |= {".".join((package.name, *path.relative_to(package).parent.parts)) for path in files}
    for path, tree in trees.items():
        room = path.relative_to(package).parts[0].removesuffix(".py")
        arrows.setdefault(room, set())
        for name, in_function in imports(tree):
            if name not in modules or not name.startswith(f"{package.name}."):
                continue
            if (other := name.split(".")[1]) != room and room not in ("__init__", "__main__"):
                arrows[room].add(other)
            if in_function:
                lazy.add((str(path.relative_to(package)), name))
    names = Counter(path.stem for path in files if path.stem != "__init__")
    repeated = {name: count for name, count in names.items() if count > 1}
    docstrings = {path: ast.get_docstring(tree) or "" for path, tree in trees.items()}
    riddles = [path for path, text in docstrings.items() if text.split(" ")[0] in RIDDLES]
    folders = [path for path in package.iterdir() if path.is_dir() and list(path.rglob("*.py"))]
    loose = sorted(path.stem for path in package.glob("*.py"))

    print(f"files / lines                    {len(files)} / {sum(lines)}")
    print(f"folders at the top               {len(folders)}; modules beside them: {', '.join(loose)}")
    print(f"median file; of <= 50 lines      {statistics.median(lines):.0f}; {sum(n <= 50 for n in lines)} files")
    print(f"largest file                     {max(lines)}")
    print(f"function median / p90 / max      {statistics.median(sizes):.0f} / {percentile(sizes, 0.9)} / {max(sizes)}")
    print(f"private functions called once    {len(once)} of {len(private)} ({len(once) / len(private):.0%})")
    print(f"arrows between rooms             {sum(map(len, arrows.values()))}")
    print(f"circles                          {len(found := circles(arrows))} {[sorted(group) for group in found]}")
    print(f"lazy imports of the package      {len(lazy)}")
    print(f"repeated file names              {len(repeated)} {repeated}")
    print(f"docstrings that open indirectly  {len(riddles)}")
    for path in riddles:
        print(f"    {path.relative_to(package)}: {docstrings[path].splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))

"""The rooms of the library and who imports whom, read from the code itself.

A room is a folder of `jax_stepcache/`, or a file that lies beside the folders. All of
`models/` is one room: the library knows none of what is in it.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, MODELS = "jax_stepcache", "jax_stepcache.models"
_FOLDERS = {LIBRARY: ROOT / "jax_stepcache", MODELS: ROOT / "models"}

# A room imports only from floors below its own. Left, middle, right; "" is no room.
# This is the one place where that is written down: the picture is drawn from it, and
# tests/test_architecture.py holds the code to it.
FLOORS = (
    ("cli", "", "models"),
    ("", "__init__", ""),
    ("calibration", "pipeline", "serving"),
    ("measure", "", "requests"),
    ("", "sampling", ""),
    ("", "options", "batching"),
    ("backends", "", "loop"),
    ("", "network", ""),
    ("checkpoints", "", "solvers"),
    ("paths", "", "policy"),
    ("", "meshes", ""),
    ("", "kept", "check"),
    ("errors", "processes", "nodes"),
)
# Files that are doors of other rooms: `python -m jax_stepcache` is the command, and the
# public names are the entrance.
_DOORS = {"__main__": "cli", "public": "__init__"}


class Import(NamedTuple):
    """One module importing another.

    Attributes:
        importer: the module that imports.
        imported: what it imports, a module of the library or of its models.
        where: file and line.
    """

    importer: str
    imported: str
    where: str


def modules() -> dict[str, Path]:
    """All modules of the library and of its models, by name."""
    return {
        ".".join([name, *_parts(file.relative_to(folder))]): file
        for name, folder in _FOLDERS.items()
        for file in sorted(folder.rglob("*.py"))
    }


def imports() -> list[Import]:
    """All imports among them, inside functions and under TYPE_CHECKING too."""
    known = modules()
    return [
        Import(name, other, f"{file.relative_to(ROOT)}:{line}")
        for name, file in known.items()
        for other, line in imported(name, file, known)
    ]


def imported(
    name: str, file: Path, known: Mapping[str, Path]
) -> Iterator[tuple[str, int]]:
    """What a module imports of those that are known.

    Args:
        name: the module's name.
        file: where it is.
        known: all modules, by name.

    Yields:
        What is imported, and on which line.
    """
    package = name.split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            # `from package import module` imports the module, anything else the base.
            names = [one if one in known else base for one in inner]
        else:
            continue
        for one in dict.fromkeys(names):
            if one in known and one != name:
                yield one, node.lineno


def names_of_models() -> list[tuple[str, str]]:
    """Where a module of the library has the name of a model's module in a string."""
    return [
        (name, f"{file.relative_to(ROOT)}:{node.lineno}")
        for name, file in modules().items()
        if room_of(name) != "models"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(f"{MODELS}.")
    ]


def room_of(module: str) -> str:
    """The room that a module is in."""
    if module == MODELS or module.startswith(f"{MODELS}."):
        return "models"
    first = module.split(".")[1] if "." in module else "__init__"
    return _DOORS.get(first, first)


def rooms() -> dict[str, Path]:
    """All rooms, and the file whose docstring says what each is for."""
    found: dict[str, Path] = {}
    for name, file in modules().items():
        if name.split(".")[-1] not in _DOORS:
            found.setdefault(room_of(name), file)
    return found


def arrows(among: Iterable[Import]) -> dict[tuple[str, str], list[str]]:
    """Which room imports which, and where."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in among:
        ends = room_of(one.importer), room_of(one.imported)
        if ends[0] != ends[1]:
            found.setdefault(ends, []).append(one.where)
    return found


def reduced(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leaves out every arrow that a way over other arrows replaces.

    Args:
        pairs: arrows without a circle.

    Returns:
        The arrows that are left, sorted.
    """
    pairs = set(pairs)
    following: dict[str, set[str]] = {}
    for start, end in pairs:
        following.setdefault(start, set()).add(end)

    def reaches(start: str, end: str) -> bool:
        after = following.get(start, ())
        return end in after or any(reaches(one, end) for one in after)

    return sorted(
        (start, end)
        for start, end in pairs
        if not any(reaches(one, end) for one in following[start] - {end})
    )


def circle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Some circle of arrows, its first member again at the end; empty without one."""
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for start, end in pairs:
        sorter.add(start, end)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def purpose(file: Path) -> str:
    """The first paragraph of a file's docstring, on one line, without markup."""
    said = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(said.split("\n\n")[0].split()).replace("`", "")


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts

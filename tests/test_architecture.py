"""The house keeps its shape: read from the code, as its picture is."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
MOST_LINES = 400
NO_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}


@pytest.fixture
def script(monkeypatch):
    """Imports a script of the pictures as a module, its neighbours beside it."""
    monkeypatch.syspath_prepend(str(PICTURES))
    return importlib.import_module


@pytest.fixture
def rooms(script):
    return script("rooms")


def test_the_picture_is_what_the_code_says(script):
    """The committed picture is drawn from today's rooms and imports."""
    architecture = script("architecture")
    assert architecture.PICTURE.read_text() == architecture.drawing(), (
        "python docs/pictures/architecture.py draws it anew"
    )


def test_imports_point_downwards(rooms):
    """A room imports from floors below its own, never from its own or from above."""
    floors = {
        room: number
        for number, floor in enumerate(rooms.FLOORS)
        for room in floor
        if room
    }
    assert set(rooms.rooms()) == set(floors), "a room has no floor, see rooms.FLOORS"
    upwards = {
        f"{start} -> {end}": where
        for (start, end), where in rooms.arrows(rooms.imports()).items()
        if floors[start] >= floors[end]
    }
    assert not upwards


def test_there_is_no_circle(rooms):
    """No module imports itself over others, be it inside a function."""
    pairs = [(one.importer, one.imported) for one in rooms.imports()]
    assert len(pairs) > 300
    assert not rooms.circle(pairs)


def test_models_have_no_circle(rooms):
    """Among the folders of models/, too, arrows go one way."""

    def folder(module):
        return module.removeprefix(rooms.MODELS).split(".")[1:2]

    pairs = {
        (*folder(one.importer), *folder(one.imported))
        for one in rooms.imports()
        if rooms.room_of(one.importer) == rooms.room_of(one.imported) == "models"
    }
    pairs = {pair for pair in pairs if len(set(pair)) == 2}
    assert pairs
    assert not rooms.circle(pairs)


def test_the_library_knows_no_model(rooms):
    """Models are named in one file, as strings, and imported nowhere."""
    imported = [
        one.where
        for one in rooms.imports()
        if rooms.room_of(one.imported) == "models"
        and rooms.room_of(one.importer) != "models"
    ]
    assert not imported
    named = {module for module, _ in rooms.names_of_models()}
    assert named == {"jax_stepcache.network.registry"}


def test_files_are_short(rooms):
    """One concept, one file; one that needs more lines holds two."""
    long = {
        str(file.relative_to(ROOT)): count
        for file in rooms.modules().values()
        if (count := len(file.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_files_are_called_by_what_they_hold(rooms):
    """No drawer for whatever is left over."""
    parts = {part for name in rooms.modules() for part in name.split(".")}
    assert not parts & NO_NAMES


def test_every_room_says_what_it_is_for(rooms):
    """A docstring of the room's own, and a line on the page about how it is made."""
    page = (ROOT / "docs" / "how" / "index.md").read_text()
    for room, file in rooms.rooms().items():
        assert rooms.purpose(file), file
        name = room if file.name == "__init__.py" else file.name
        assert f"`{name}" in page, f"docs/how/index.md does not speak of {room}"


@pytest.mark.parametrize(
    ("pairs", "left"),
    [
        ([("a", "b"), ("b", "c"), ("a", "c")], [("a", "b"), ("b", "c")]),
        ([("a", "c"), ("b", "c")], [("a", "c"), ("b", "c")]),
        (
            [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("b", "d")],
            [("a", "b"), ("b", "c"), ("c", "d")],
        ),
    ],
)
def test_arrows_that_a_way_replaces_are_left_out(rooms, pairs, left):
    """The picture shows the shortest account of who reaches whom, and no less."""
    assert rooms.reduced(pairs) == left


def test_circles_are_found(rooms):
    """What must not be there would be seen, and told in the order of the imports."""
    found = rooms.circle([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])
    assert found in (["b", "c", "b"], ["c", "b", "c"])


def test_all_kinds_of_imports_are_read(rooms, tmp_path):
    """Relative, inside functions, of modules and of names; others are passed over."""
    file = tmp_path / "here.py"
    file.write_text(
        "from ..other import thing\n"
        "from . import beside\n"
        "import jax\n"
        "def later():\n"
        "    import jax_stepcache.loop\n"
        "    from jax_stepcache.errors import unknown_name\n"
    )
    names = ("models.other", "models.mine", "models.mine.beside", "loop", "errors")
    known = {f"jax_stepcache.{name}": file for name in names}
    found = list(rooms.imported("jax_stepcache.models.mine.here", file, known))
    assert found == [
        ("jax_stepcache.models.other", 1),
        ("jax_stepcache.models.mine.beside", 2),
        ("jax_stepcache.loop", 5),
        ("jax_stepcache.errors", 6),
    ]

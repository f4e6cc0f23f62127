import tomllib
from pathlib import Path

import jax_stepcache

ROOT = Path(__file__).parent.parent


def test_every_package_is_installed():
    """A folder of the library that the wheel lacks would work in a checkout only."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "setuptools"
    ]
    found = set()
    for folder, name in (
        ("jax_stepcache", "jax_stepcache"),
        ("models", "jax_stepcache.models"),
    ):
        for file in (ROOT / folder).rglob("__init__.py"):
            inner = file.parent.relative_to(ROOT / folder).parts
            found.add(".".join([name, *inner]))
    assert set(settings["packages"]) == found


def test_the_version_stands_twice():
    """The package's and the installed metadata's are the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == jax_stepcache.__version__

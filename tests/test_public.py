"""The public names, which are imported when one is first asked for."""

import copy
import pickle
import pkgutil
import subprocess
import sys

import pytest

import jax_stepcache
from jax_stepcache import public

# Whatever a first line of a user's needs none of; each costs time or an extra.
_LATER = (
    "matplotlib",
    "optax",
    "orbax",
    "PIL",
    "sklearn",
    "tqdm",
    "jax_stepcache.cli",
    "jax_stepcache.models",
)


def _in_a_fresh_process(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_public_names():
    """What ``__all__`` promises is there, each name once."""
    names = jax_stepcache.__all__
    assert all(hasattr(jax_stepcache, name) for name in names)
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(jax_stepcache))


def test_every_public_import_is_promised():
    """A name that `public` imports and does not list could not be reached."""
    imported = {name for name in vars(public) if not name.startswith("_")}
    assert imported == set(public.__all__)


def test_no_module_has_the_name_of_a_function():
    """Importing a module ``jax_stepcache.sample`` would hide the function `sample`."""
    modules = {module.name for module in pkgutil.iter_modules(jax_stepcache.__path__)}
    assert not modules & set(public.__all__)


def test_jax_is_imported_with_the_first_name():
    """Not before; and from then on the names are plain attributes."""
    program = """
import sys, jax_stepcache
before = "jax" in sys.modules
jax_stepcache.Schedule
print(before, "jax" in sys.modules, "sample" in vars(jax_stepcache))
"""
    assert _in_a_fresh_process(program) == "False True True"


def test_the_public_names_need_no_extras():
    """Nor Optax nor Orbax, models nor the command, which come when they are used."""
    program = f"""
import sys
from jax_stepcache import *
sample, load_params, calibrate, summary, serve
print(*[name for name in {_LATER} if name in sys.modules])
"""
    assert _in_a_fresh_process(program) == ""


@pytest.mark.parametrize(
    "first",
    [
        "jax_stepcache.loop.denoise.denoise",
        "jax_stepcache.errors.nearest",
        "jax_stepcache.__doc__",
        "jax_stepcache.__version__",
    ],
)
def test_modules_are_attributes(first):
    """A module that the public names need is there without an import of its own."""
    assert _in_a_fresh_process(f"import jax_stepcache; print(bool({first}))") == "True"


def test_many_threads_may_ask_first():
    """All get the same object, whoever imports."""
    program = """
import threading, jax_stepcache
names = ["sample", "denoise", "loop", "serve"] * 4
found, start = [], threading.Barrier(len(names))
def ask(name):
    start.wait()
    found.append((name, getattr(jax_stepcache, name)))
threads = [threading.Thread(target=ask, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), len({(name, id(value)) for name, value in found}))
"""
    assert _in_a_fresh_process(program) == "16 4"


def test_an_unknown_name_is_told_with_the_nearest():
    """As an AttributeError, so that `hasattr` and `getattr` work as with any module."""
    with pytest.raises(AttributeError, match=r"'smaple'\. Did you mean 'sample'\?"):
        _ = jax_stepcache.smaple
    with pytest.raises(AttributeError, match=r"has no attribute 'xyzzy'$"):
        _ = jax_stepcache.xyzzy
    with pytest.raises(ImportError, match="smaple"):
        exec("from jax_stepcache import smaple")
    assert not hasattr(jax_stepcache, "__wrapped__")
    assert getattr(jax_stepcache, "xyzzy", None) is None


def test_what_a_user_sets_stays(monkeypatch):
    """A replaced name is not put back when another one is asked for."""
    monkeypatch.setattr(jax_stepcache, "sample", "mine")
    assert not hasattr(jax_stepcache, "xyzzy")
    assert jax_stepcache.sample == "mine"


def test_names_are_pickled_as_what_they_are():
    """By the module that they come from, and the same object comes back."""
    for name in ("sample", "Schedule", "StepCacheConfig"):
        value = getattr(jax_stepcache, name)
        assert pickle.loads(pickle.dumps(value)) is value
        assert copy.deepcopy(value) is value

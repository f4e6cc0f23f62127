"""The library's own folder: whole or not there, and bit for bit what was saved."""

from __future__ import annotations

import gc
import math
import os
import shutil

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import FunctionModel, Params, load_model, load_params, save_params
from jax_stepcache.checkpoints import folder
from jax_stepcache.checkpoints.folder import FolderWriter, parts_of
from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
    import_state_dict,
    weights_struct,
)

from ..models.dreamzero.small import SMALL
from .original import state_dict
from .test_released import assert_equal


@pytest.fixture(scope="module")
def params():
    """In bfloat16, but for one weight, so that dtypes are kept one by one."""
    weights = import_state_dict(SMALL, state_dict())
    weights["head"]["modulation"] = weights["head"]["modulation"].astype(jnp.float32)
    return Params(weights, DreamZeroModel(SMALL, (4, 4)))


@pytest.fixture(scope="module")
def template(params, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "small"
    save_params(path, params)
    return path


@pytest.fixture
def saved(template, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(template, tmp_path / "small")


def test_roundtrip(template, params):
    """Bits, dtypes and model come back; nothing temporary is left."""
    loaded = load_params(template)
    assert loaded.model == params.model == load_model(template)
    assert_equal(loaded.weights, params.weights)
    assert os.listdir(template.parent) == [template.name]


def test_cast(template, params):
    """Weights and activations are cast while they are restored."""
    loaded = load_params(template, dtype="bfloat16")
    assert loaded.model.dit.dtype == "bfloat16"
    expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params.weights)
    assert_equal(loaded.weights, expected)


def test_the_bundled_model_can_be_saved(tmp_path):
    """Weights of any model that has a name here, not of DreamZero alone."""
    bundled = load_params("tabletop")
    save_params(tmp_path / "tabletop", bundled)
    loaded = load_params(tmp_path / "tabletop")
    assert loaded.model == bundled.model
    assert_equal(loaded.weights, bundled.weights)


def test_what_cannot_be_saved(tmp_path, params):
    """A model that could not be found again, and what are no params."""
    mine = Params({"w": jnp.ones(2)}, FunctionModel(lambda p, x, t, c: x))
    with pytest.raises(ValueError, match="unknown model '<lambda>'"):
        save_params(tmp_path / "mine", mine)
    with pytest.raises(TypeError, match="must be a Params, got dict"):
        save_params(tmp_path / "mine", params.weights)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(template, params):
    """A folder that exists is kept."""
    with pytest.raises(FileExistsError, match=f"{template} exists"):
        save_params(template, params)


def test_an_interrupted_save_leaves_no_folder(tmp_path, params, monkeypatch):
    """Until it is whole it has another name, and the next save begins anew."""
    write = FolderWriter.write

    def stop(self, part, weights):
        if part == "head":
            raise KeyboardInterrupt
        write(self, part, weights)

    with monkeypatch.context() as patched:
        patched.setattr(FolderWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            save_params(tmp_path / "small", params)
    assert os.listdir(tmp_path) == ["small.partial"]
    save_params(tmp_path / "small", params)
    assert os.listdir(tmp_path) == ["small"]
    assert_equal(load_params(tmp_path / "small").weights, params.weights)


def test_all_faults_in_one_error(tmp_path, params):
    """Missing, extra, misshapen and non-finite weights."""
    weights = jax.tree.map(lambda x: x, params.weights)
    del weights["time_projection"]
    weights["more"] = {"w": jnp.ones(2)}
    weights["head"]["proj"]["bias"] = jnp.ones(5)
    weights["patch_embedding"]["bias"] = jnp.full(SMALL.dim, jnp.nan)
    weights["blocks"]["norm3"]["scale"] = jnp.full((2, SMALL.dim), jnp.inf)
    save_params(tmp_path / "faulty", Params(weights, params.model))
    with pytest.raises(ValueError, match="does not fit the model, 6 faults") as error:
        load_params(tmp_path / "faulty")
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        "extra: more.w",
        "missing: time_projection.bias",
        "missing: time_projection.kernel",
        "not finite: blocks.norm3.scale",
        "not finite: patch_embedding.bias",
        "shape: head.proj.bias is (5,), the model has (12,)",
    ]


# Orbax leaves a task behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_part_cut_short(saved):
    """A file of a part that lost its end, or is gone: the error names the part."""
    part = saved / "blocks.ffn.layer1"
    files = [f for f in part.rglob("*") if f.is_file() and f.parent.name == "d"]
    # Of the two cuts, each comes up elsewhere inside Orbax.
    for left in (slice(-20), slice(100)):
        for file in files:
            file.write_bytes(file.read_bytes()[left])
        with pytest.raises(ValueError, match=r"blocks\.ffn\.layer1 is cut short"):
            load_params(saved)
    for file in files:
        file.unlink()
    with pytest.raises(ValueError, match=r"blocks\.ffn\.layer1 is cut short"):
        load_params(saved)
    gc.collect()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "model.json is not JSON"),
        ("{}", "needs 'model' and 'config'"),
        ('{"model": "dreamzer", "config": {}}', "Did you mean 'dreamzero'"),
    ],
)
def test_a_bad_description(text, words, saved):
    """A ``model.json`` that does not say which model it is."""
    (saved / folder.MODEL).write_text(text)
    with pytest.raises(ValueError, match=words):
        load_params(saved)


_NAMES = st.lists(st.sampled_from(["blocks", "a", "b", "c"]), min_size=1, max_size=5)


@given(st.lists(_NAMES.map(".".join), unique=True))
def test_parts_divide_the_weights(names):
    """Every weight is in one part, and parts of different names share nothing."""
    parts = parts_of(names)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    for part, members in parts.items():
        assert all(name == part or name.startswith(f"{part}.") for name in members)


def test_the_largest_part_is_small():
    """Of the 14B model no part is more than a fifth."""
    struct = flat(weights_struct(load_model("droid-14b")))
    weights = {name: math.prod(one.shape) for name, one in struct.items()}
    sizes = [sum(weights[n] for n in names) for names in parts_of(weights).values()]
    assert max(sizes) < sum(sizes) / 5

"""openpi's folders: which they are, what shapes tell, and what is wrong with them."""

import json
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jax_stepcache
from jax_stepcache.checkpoints.orbax_arrays import OrbaxArrays
from jax_stepcache.models import pi0
from jax_stepcache.models.pi0.tiny import config_of_tiny, write_tiny

pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pi0") / "tiny"
    write_tiny(made)
    return made


def test_sizes_are_those_that_the_weights_tell(folder):
    """And what they do not tell is in a file beside them."""
    assert jax_stepcache.load_model(folder).config == config_of_tiny(False)
    params = jax_stepcache.load_params(folder)
    assert isinstance(params.model, pi0.Pi0Model)
    wanted = pi0.weight_shapes(params.model.config)
    assert jax.tree.map(np.shape, params.weights) == jax.tree.map(
        lambda x: x.shape, wanted
    )


def test_without_a_file_the_robots_release_tells_them(folder, tmp_path):
    """`assets` has a folder of each robot."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "pi0.json").unlink()
    config = jax_stepcache.load_model(other).config
    assert (config.action_horizon, config.max_token_len) == (10, 48)
    shutil.rmtree(other / "assets")
    assert jax_stepcache.load_model(other / "params").config.action_horizon == 50


def test_it_is_converted_and_read_again(folder, tmp_path):
    """To a folder of ours, number by number."""
    params = jax_stepcache.load_params(folder)
    jax_stepcache.save_params(tmp_path / "ours.safetensors", params)
    again = jax_stepcache.load_params(tmp_path / "ours.safetensors")
    assert again.model == params.model
    jax.tree.map(np.testing.assert_array_equal, again.weights, params.weights)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('{"horizon": 3}', "it may say"),
        ("{", "is not JSON"),
        ('{"action_horizon": 0}', "action_horizon must be an integer >= 1"),
    ],
)
def test_a_file_that_says_something_else(folder, tmp_path, said, words):
    """Is told before weights are read."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "pi0.json").write_text(said)
    with pytest.raises(ValueError, match=words):
        jax_stepcache.load_params(other)


def test_damaged_folders(folder, tmp_path):
    """A missing file is told, and no pickle is looked for."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    shutil.rmtree(other / "params" / "d")
    with pytest.raises(ValueError, match=r"cut short|d/"):
        jax_stepcache.load_params(other)
    (other / "params" / "_METADATA").write_text("{")
    with pytest.raises(ValueError, match="cut short or is no Orbax checkpoint"):
        jax_stepcache.load_params(other)


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_names_without_what_all_have(tmp_path, below, wrapped):
    """Flax NNX writes `value` behind each, and openpi `params` before."""
    arrays = {"a": {"b": np.arange(6.0).reshape(2, 3)}, "c": np.ones(2, np.float32)}
    tree = jax.tree.map(lambda x: {"value": x} if wrapped else x, arrays)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "x", {"params": tree} if below else tree)
    found = OrbaxArrays(tmp_path / "x")
    assert {n: h.shape for n, h in found.headers.items()} == {"a/b": (2, 3), "c": (2,)}
    (read,) = found.read(["a/b"])
    np.testing.assert_array_equal(read[1], arrays["a"]["b"])
    assert found.bytes_on_disk > 0


def test_released_sizes():
    """Parameters of pi0 and pi0.5, as released; nothing is allocated."""
    counts = {
        name: {row[0]: row[1] for row in pi0.describe(pi0.named_model(name))}
        for name in pi0.CONFIGS
    }
    assert counts["pi0-base"]["parameters"] == 3_238_048_528
    assert counts["pi05-base"]["parameters"] == 3_353_433_872
    with pytest.raises(ValueError, match="pi05-droid"):
        pi0.named_model("pi05-droit")


def test_statistics_of_several_robots(folder, tmp_path):
    """Are no guess."""
    assert len(pi0.load_statistics(folder, quantiles=False).state.low) == 8
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "norm_stats.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r"statistics of \['a', 'b'\]"):
        pi0.load_statistics(tmp_path, quantiles=True)
    with pytest.raises(ValueError, match="has no q01 and q99 of 'state'"):
        pi0.load_statistics(tmp_path / "a", quantiles=True)

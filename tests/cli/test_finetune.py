"""``jax-stepcache finetune``: from sequences on disk to weights that load."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, load_params, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.dreamzero.training import save_chunks
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.tabletop import TabletopModel, tabletop_config, weights_struct

MODEL = TabletopModel(tabletop_config(dim=32, num_layers=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Params to begin from, and sequences to learn from."""
    folder = tmp_path_factory.mktemp("finetune")
    # Not fresh ones, whose zeros keep gradients from the blocks at first.
    rng = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32),
        weights_struct(MODEL),
    )
    save_params(folder / "begin", Params(weights, MODEL))
    chunks = jax.tree.map(
        lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32),
        chunks_struct(MODEL, 4, 1),
    )
    save_chunks(folder / "chunks", chunks)
    return folder


def _arguments(folder, out, *more):
    paths = ["--params", folder / "begin", "--data", folder / "chunks", "--out", out]
    return ["finetune", *map(str, paths), *more]


@pytest.mark.slow
def test_adapters_are_trained_and_merged(folder, tmp_path, capsys):
    """The result loads as the same model; what is adapted moved, the rest did not."""
    settings = ["--lora", "2", "--steps", "3", "--batch", "4", "--devices", "1"]
    assert main(_arguments(folder, tmp_path, *settings, "--warmup", "0.3")) == 0
    assert "step 3: action" in capsys.readouterr().out
    before, after = (load_params(p) for p in (folder / "begin", tmp_path / "params"))
    assert after.model == before.model == MODEL
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), before.weights, after.weights
    )
    assert moved["blocks"]["ffn"]["layer1"]["kernel"]
    assert moved["action_encoder"]["W1"]["kernel"]
    assert not moved["head"]["proj"]["kernel"]
    assert not moved["patch_embedding"]["kernel"]


def test_bad_input_is_one_line(folder, tmp_path, capsys):
    """Missing data, settings that do not fit, a result that is there already."""
    assert main(["finetune", "--data", "nowhere", "--out", str(tmp_path)]) == 1
    assert "no folder nowhere" in capsys.readouterr().err
    assert main(_arguments(folder, tmp_path, "--batch", "9")) == 1
    assert "has 4 sequences" in capsys.readouterr().err
    assert main(_arguments(folder, tmp_path, "--devices", "99")) == 1
    assert "--devices is 99; there are" in capsys.readouterr().err
    (tmp_path / "params").mkdir()
    assert main(_arguments(folder, tmp_path)) == 1
    assert "this run is finished; give another --out" in capsys.readouterr().err

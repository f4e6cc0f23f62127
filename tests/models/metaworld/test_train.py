"""Training on demonstrations: it goes on where it was stopped, and learns."""

import json

import jax
import numpy as np
import pytest

from jax_stepcache import load_params
from jax_stepcache.models.dreamzero.training import Chunks, save_chunks
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.metaworld import MetaworldModel, config_of, metaworld_config
from jax_stepcache.models.metaworld.train import Settings, train
from jax_stepcache.models.training.export import export_run

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))
SETTINGS = Settings(steps=4, batch=2, warmup=1)


@pytest.fixture
def data(tmp_path):
    pytest.importorskip("grain")
    rng = np.random.default_rng(0)
    drawn = {
        name: rng.uniform(-1, 1, struct.shape).astype(np.float16)
        for name, struct in chunks_struct(MODEL, 4, 1)._asdict().items()
        if struct is not None
    }
    save_chunks(tmp_path / "data", Chunks(**drawn))
    return tmp_path / "data"


@pytest.mark.slow
def test_a_resumed_run_gets_the_same_numbers(data, tmp_path):
    """Interrupted after two of four steps and resumed: bit for bit what it would have
    been; its weights are found again with their model, and another run may begin from
    them."""
    whole = train(SETTINGS, MODEL, data, tmp_path / "whole")
    train(SETTINGS, MODEL, data, tmp_path / "half", stop_after=2)
    resumed = train(SETTINGS, MODEL, data, tmp_path / "half", resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    path = tmp_path / "weights.safetensors"
    told = {"model": MODEL.name, "config": config_of(MODEL), "command": "none"}
    export_run(path, whole, settings=SETTINGS, **told)
    params = load_params(path, layers="stacked")
    assert params.model == MODEL
    jax.tree.map(np.testing.assert_array_equal, params.weights, whole.averaged)
    assert json.loads(path.with_suffix(".json").read_text())["steps_taken"] == 4
    folder = tmp_path / "next"
    begun = train(SETTINGS, MODEL, data, folder, init=params.weights, stop_after=1)
    # The rate rises from zero.
    jax.tree.map(np.testing.assert_array_equal, begun.trained, whole.averaged)
    with pytest.raises(ValueError, match="init"):
        train(SETTINGS, MODEL, data, folder, resume=True)


def test_a_batch_larger_than_the_data_is_refused(data, tmp_path):
    """Before anything is compiled, with both numbers."""
    settings = SETTINGS._replace(batch=8)
    with pytest.raises(ValueError, match=r"batch is 8; .* has 4 sequences"):
        train(settings, MODEL, data, tmp_path / "run")

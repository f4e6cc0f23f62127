"""Fine-tuning: what it learns, how it resumes, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    finetune,
)

from ..small import SMALL, random_weights
from .sequences import MODEL

PARAMS = Params(jax.tree.map(jnp.asarray, random_weights(SMALL)), MODEL)


@pytest.mark.slow
def test_finetuning_learns_and_a_resumed_run_gets_the_same_numbers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss falls; stopped half-way and resumed, every weight is the same bit for
    bit; the params that it began from are as they were. Adapters: `tests/cli`."""
    settings = FinetuneSettings(
        steps=12, batch=4, accumulate=2, lora=0, learning_rate=0.02, warmup=0.1
    )
    before = jax.tree.map(np.array, PARAMS.weights)
    whole = finetune(PARAMS, data, tmp_path / "whole", settings, log_every=1)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split("video ")[1].split(",")[0]) for line in lines]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    finetune(PARAMS, data, tmp_path / "parts", settings, stop_after=6)
    resumed = finetune(PARAMS, data, tmp_path / "parts", settings, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, whole.weights)
    jax.tree.map(np.testing.assert_array_equal, PARAMS.weights, before)
    other = settings._replace(learning_rate=0.03)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.02 and is 0\.03"):
        finetune(PARAMS, data, tmp_path / "parts", other, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 5}, "batch is 5; .* 4 sequences"),
        ({"accumulate": 3}, "accumulate is 3"),
        ({"steps": 0}, "steps is 0"),
        ({"lora": -1}, "lora is -1"),
        ({"warmup": 1.0}, r"warmup is 1\.0"),
        ({"dropout": 7.0}, "dropout is 7"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"shift": -1.0}, "shift is -1"),
    ],
)
def test_settings_that_do_not_fit_are_errors(
    changes: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    """Before anything is compiled or written."""
    settings = FinetuneSettings(steps=10, batch=4)._replace(**changes)
    with pytest.raises(ValueError, match=message):
        finetune(PARAMS, data, tmp_path, settings)
    assert not any(tmp_path.iterdir())

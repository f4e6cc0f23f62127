"""The loop that all trainings share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_stepcache.models.training.loop import fit


class Settings(NamedTuple):
    steps: int = 6
    seed: int = 0
    decay: float = 0.9
    accumulate: int = 1


def _loss(weights, frozen, batch, key):
    noise = jax.random.normal(key, batch.shape)
    error = jnp.mean((weights["w"] * batch - 2 * batch + 0.1 * noise) ** 2)
    return error, {"error": error}


OPTIMIZER = optax.adam(0.1)


def _fit(folder, settings=Settings(), **options):  # noqa: B008
    return fit(
        folder,
        {"w": jnp.ones(3)},
        loss=_loss,
        optimizer=OPTIMIZER,
        batch_at=lambda step: jnp.arange(3.0) + step,
        settings=settings,
        **options,
    )


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path):
    """Weights, averages and moments: bit for bit those of one that was not."""
    whole = _fit(tmp_path / "whole")
    _fit(tmp_path / "parts", stop_after=4, save_every=2)
    resumed = _fit(tmp_path / "parts", resume=True)
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(resumed.step) == 6


def test_nothing_is_overwritten_or_invented(tmp_path):
    """A folder with a run needs `resume`; one without cannot be resumed."""
    with pytest.raises(ValueError, match="no checkpoint; leave out --resume"):
        _fit(tmp_path / "run", resume=True)
    _fit(tmp_path / "run", stop_after=2)
    with pytest.raises(ValueError, match="a checkpoint, step 2; add --resume"):
        _fit(tmp_path / "run")


def test_a_resumed_run_has_the_settings_it_had(tmp_path):
    """Or its numbers would be nobody's."""
    _fit(tmp_path, stop_after=2)
    with pytest.raises(ValueError, match=r"decay was 0\.9 and is 0\.5"):
        _fit(tmp_path, Settings(decay=0.5), resume=True)

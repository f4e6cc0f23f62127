"""The bundled weights walk through whole windows."""

import jax
import numpy as np
import pytest

from jax_stepcache import load_params
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop import drive

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def journey():
    pipeline = DreamZeroPipeline(
        load_params(), cache_backend="tuned", cache_config={"budget": 5}
    )
    return drive(pipeline, jax.random.key(0), robots=16, control_steps=5)


def test_sessions_reach_their_blocks(journey):
    """Within two control steps, the second of which sees the first's frames through
    the KV cache; weights that have not learned to use it stop half-way."""
    assert journey.reached[:, :16].any(axis=1).mean() >= 0.7


def test_sessions_stay_there_beyond_the_window(journey):
    """Positions that were rarely seen in training, and the reset, do no harm."""
    positions = [step.session.position[0].item() for step in journey.steps]
    assert positions == [3, 5, 7, 9, 3]
    assert journey.reached[:, -8:].any(axis=1).mean() >= 0.7


def test_records_fit_together(journey):
    """Every control step has eight actions and two frames more."""
    assert journey.path.shape == (16, 1 + 5 * 8, 2)
    assert journey.reached.shape == (16, 5 * 8)
    assert journey.seen.shape == (16, 1 + 5 * 2, 32, 32, 3)
    moved = np.linalg.norm(np.diff(journey.path, axis=1), axis=-1)
    assert moved.max() <= 0.04 + 1e-5
    calls = [int(step.stats.model_calls) for step in journey.steps]
    assert calls == [5] * 5

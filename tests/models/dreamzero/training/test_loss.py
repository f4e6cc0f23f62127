"""The flow-matching loss."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jax_stepcache.models.dreamzero.network import teacher_forcing
from jax_stepcache.models.dreamzero.training import (
    FlowMatching,
)

from ..small import SMALL, random_weights
from .sequences import MODEL, random_chunks


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_loss_of_a_perfect_answer_is_zero(
    prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target is noise minus data, or the data, as the model predicts; and the
    noise level told to the network is the one that was mixed in."""
    model = replace(MODEL, prediction=prediction)
    chunks = jax.tree.map(jnp.asarray, random_chunks(model, 3))

    def oracle(network, video, action, state, t_video, t_action, *_, **__):
        del network, state
        answers = []
        for noisy, clean, t in (
            (video, chunks.video, t_video[:, None, :, None, None]),
            (action, chunks.action, t_action[:, :, None]),
        ):
            sigma = t / 1000
            noise = clean + (noisy - clean) / sigma
            answers.append(clean if prediction == "sample" else noise - clean)
        return tuple(answers)

    monkeypatch.setattr(teacher_forcing, "forward", oracle)
    weights = random_weights(SMALL)
    loss, parts = jax.jit(FlowMatching(model))(weights, chunks, jax.random.key(0))
    assert float(loss) < 1e-3
    assert parts.keys() == {"video", "action"}

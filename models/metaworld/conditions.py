"""What the network is asked under at moments of episodes: samples to calibrate on.

A robot's cache of keys and values grows from chunk to chunk, so a setting that is found
at the first pictures of windows alone would be of a quarter of what robots ask.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_count
from jax_stepcache.network.beginning import draw_noise
from jax_stepcache.network.params import Params

from ..dreamzero import DreamZeroCondition, LatentPipeline
from .rollout import Rollout
from .sizes import FRAMES
from .tasks import NAMES

_HELD_OUT = 4
"""One moment in so many is of an episode of its own; as many are held out."""


def conditions(
    params: Params, outcome: Rollout, key: jax.Array, count: int
) -> dict[str, Any]:
    """Conditions of control steps that robots have taken, and fresh noise for each.

    Moments of an episode are alike. What `jax_stepcache.calibrate` holds out, the first
    quarter, is therefore of other episodes than the rest.

    Args:
        params: Meta-World's.
        outcome: of `rollout`.
        key: draws the moments, without one twice, and the noise.
        count: how many.

    Returns:
        ``condition`` and ``noise``, as `jax_stepcache.calibrate` takes ``samples``.

    Raises:
        ValueError: if there are fewer moments, in all or in one of these parts.
    """
    check_count("count", count, 1)
    which, noise = jax.random.split(key)
    apart = -(-len(outcome.states) // _HELD_OUT)
    held = count // _HELD_OUT if apart < len(outcome.states) else count
    moments = [
        *_drawn(outcome, range(apart), jax.random.fold_in(which, 0), held),
        *_drawn(
            outcome,
            range(apart, len(outcome.states)),
            jax.random.fold_in(which, 1),
            count - held,
        ),
    ]
    return {
        "condition": _conditions(params, outcome, moments),
        "noise": draw_noise(noise, params.model.noise_struct(count)),
    }


def _drawn(
    outcome: Rollout, episodes: range, key: jax.Array, count: int
) -> list[tuple[int, int]]:
    """Moments of some episodes, (episode, chunk), none of them twice."""
    moments = [(i, k) for i in episodes for k in range(len(outcome.states[i]))]
    if count > len(moments):
        raise ValueError(
            f"{count} moments are wanted of {len(episodes)} episodes; there were "
            f"{len(moments)} control steps"
        )
    chosen = jax.random.choice(key, len(moments), (count,), replace=False)
    return [moments[int(i)] for i in chosen]


def _conditions(
    params: Params, outcome: Rollout, moments: list[tuple[int, int]]
) -> DreamZeroCondition:
    """Lets one robot for each moment look at what led to it."""
    pipeline = LatentPipeline(params)
    model = params.model
    tasks = [NAMES.index(outcome.tasks[episode]) for episode, _ in moments]
    text = model.instruction_text(jnp.asarray(tasks, jnp.int32))
    session = pipeline.start(text, jnp.zeros_like(text) if pipeline.guided else None)
    window = model.dit.max_chunk_size
    shown: dict[str, Any] = {}
    for before in reversed(range(window)):
        # All end together; who has seen enough by then begins as late as it may.
        first = [window * (chunk // window) for _, chunk in moments]
        rows = [
            (episode, max(chunk - before, begun))
            for (episode, chunk), begun in zip(moments, first, strict=True)
        ]
        shown = _seen(model, outcome, rows)
        shown["restart"] = np.array(
            [now == begun for (_, now), begun in zip(rows, first, strict=True)]
        )
        step = pipeline(session, shown, num_inference_steps=1)
        session = step.session
    state = jnp.concatenate([shown["state"]] * (2 if session.guided else 1))
    return DreamZeroCondition(session.context, session.cache, state)


def _seen(model: Any, outcome: Rollout, rows: list[tuple[int, int]]) -> dict[str, Any]:
    """What robots see at chunks of their episodes."""
    pictures, states = [], []
    for episode, chunk in rows:
        seen, now = outcome.seen[episode], FRAMES * chunk
        # Of the first chunk there is one picture alone, and nobody reads others.
        places = np.maximum(np.arange(now - FRAMES + 1, now + 1), 0)
        pictures.append(seen[places])
        states.append(outcome.states[episode][chunk])
    latents = _encoded(model, np.stack(pictures))
    state = model.normalised_state(np.stack(states))[:, None]
    return {"latents": latents, "first": latents[:, :, -1:], "state": state}


def _encoded(model: Any, pictures: np.ndarray) -> jax.Array:
    return model.latent.encode(jnp.asarray(pictures, jnp.float32) / 255)

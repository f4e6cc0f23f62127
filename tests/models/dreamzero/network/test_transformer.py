"""Rules of DreamZero's transformer and of its KV cache."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import KVCache, bind, init_weights, weight_shapes
from jax_stepcache.models.dreamzero.network.positions import MAX_FRAMES, video_angles

from ..small import (
    I2V,
    SMALL,
    inputs,
    prefill,
    random_cache,
    random_weights,
    traces,
    velocities,
)


@pytest.fixture(scope="module")
def weights():
    return random_weights(SMALL)


@pytest.fixture(scope="module")
def given():
    return inputs(SMALL, batch=2)


@pytest.fixture(scope="module")
def one(given):
    return {name: value[:1] for name, value in given.items()}


def _assert_close(a, b, tolerance=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance), a, b)


def _differs(a, b):
    return max(float(jnp.abs(a[name] - b[name]).max()) for name in a) > 1e-3


def test_one_program_serves_all_window_positions(weights, one):
    """The position is data: a session never traces its steps a second time."""
    cache = KVCache.empty(SMALL, 1)
    seen, traced = [], set()
    for step in range(5):
        cache, _ = prefill(SMALL, weights, one, cache)
        assert int(cache.length[0]) == 2 * (step + 1)
        seen.append(velocities(SMALL, weights, one, cache))
        traced.add(traces[SMALL])
    assert len(traced) == 1
    assert all(_differs(a, b) for a, b in pairwise(seen))


def test_batch_at_different_positions_equals_each_alone(weights, given):
    """Sessions in one batch do not see one another, wherever they are."""
    cache = random_cache(SMALL, [1, 7])
    together = velocities(SMALL, weights, given, cache)
    for row in range(2):
        alone = velocities(
            SMALL,
            weights,
            jax.tree.map(lambda x, r=row: x[r : r + 1], given),
            KVCache(
                cache.k[:, row : row + 1],
                cache.v[:, row : row + 1],
                cache.length[row : row + 1],
                cache.broken[row : row + 1],
            ),
        )
        _assert_close(alone, jax.tree.map(lambda x, r=row: x[r : r + 1], together))


@pytest.mark.parametrize(
    ("length", "visible_slots"),
    [(0, []), (1, [0]), (3, [0, 1, 2]), (5, [2, 3, 4]), (7, [4, 0, 1])],
)
def test_window_is_the_only_past_that_counts(weights, one, length, visible_slots):
    """Of a window of 5 frames, 2 are new: the last 3 written ones are attended to."""
    cache = random_cache(SMALL, [length])
    base = velocities(SMALL, weights, one, cache)
    for slot in range(SMALL.window):
        tokens = slice(slot * SMALL.frame_seqlen, (slot + 1) * SMALL.frame_seqlen)
        changed = cache._replace(v=cache.v.at[:, :, tokens].add(1.0))
        after = velocities(SMALL, weights, one, changed)
        assert _differs(base, after) == (slot in visible_slots), slot


@pytest.mark.parametrize("length", [0, 1, 3])
def test_what_nobody_wrote_may_be_nan(weights, one, length):
    """What lies in places that no frame was written to reaches no result."""
    cache = random_cache(SMALL, [length])
    base = velocities(SMALL, weights, one, cache)
    tokens = length * SMALL.frame_seqlen
    stale = [x.at[:, :, tokens:].set(jnp.nan) for x in (cache.k, cache.v)]
    found = velocities(SMALL, weights, one, cache._replace(k=stale[0], v=stale[1]))
    _assert_close(found, base, tolerance=0)
    written, _ = prefill(SMALL, weights, one, cache._replace(k=stale[0], v=stale[1]))
    _assert_close(written.length, cache.length + 2)
    after = velocities(SMALL, weights, one, written)
    assert all(np.isfinite(x).all() for x in after.values())


def test_ring_holds_what_a_growing_cache_would(weights):
    """After more frames than fit, the ring is the last frames in rotated order."""
    cache = random_cache(SMALL, [1])
    frame = SMALL.frame_seqlen
    grown = cache.k[:, :, :frame]
    for seed in range(4):
        cache, new = prefill(SMALL, weights, inputs(SMALL, 1, seed), cache)
        grown = np.concatenate([grown, new.k], axis=2)
    assert int(cache.length[0]) == 9
    for n in range(9 - SMALL.window, 9):
        slot = n % SMALL.window
        _assert_close(
            cache.k[:, :, slot * frame : (slot + 1) * frame],
            grown[:, :, n * frame : (n + 1) * frame],
        )


def test_smaller_cache_gives_the_same_when_its_frames_suffice(weights, one):
    """Slots that stay empty change nothing, so a short sequence may do without."""
    whole, _ = prefill(SMALL, weights, one, KVCache.empty(SMALL, 1))
    tokens = 2 * SMALL.frame_seqlen
    kept = {name: getattr(whole, name)[:, :, :tokens] for name in ("k", "v")}
    small = whole._replace(**kept, broken=whole.broken[:, :2])
    assert small.k.shape == KVCache.empty(SMALL, 1, frames=2).k.shape
    _assert_close(
        velocities(SMALL, weights, one, whole), velocities(SMALL, weights, one, small)
    )


def test_layers_do_not_grow_the_program():
    """Blocks are scanned: 8 layers trace to as many equations as 2."""

    def size(layers):
        config = replace(SMALL, num_layers=layers)
        cache = jax.eval_shape(lambda: KVCache.empty(config, 1))
        trace = jax.make_jaxpr(velocities, static_argnums=0)
        jaxpr = trace(config, weight_shapes(config), inputs(config, 1), cache)
        return len(str(jaxpr).splitlines())

    assert size(2) == size(8)


def test_unrolled_loop_computes_the_same(weights, one):
    """How many blocks an iteration holds is a matter of speed only."""
    cache = random_cache(SMALL, [3])
    unrolled = velocities(replace(SMALL, unroll=2), weights, one, cache)
    _assert_close(velocities(SMALL, weights, one, cache), unrolled)


@pytest.mark.slow
def test_gradient_reaches_every_weight():
    """Else training would leave weights behind."""
    given, cache = inputs(I2V, 1), random_cache(I2V, [1])

    def loss(weights):
        out = velocities(I2V, weights, given, cache)
        return sum(jnp.mean(jnp.square(v)) for v in out.values())

    # Compiling takes nearly all of this test's time.
    gradient = jax.jit(
        jax.grad(loss), compiler_options={"xla_backend_optimization_level": 0}
    )(random_weights(I2V))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert jnp.all(jnp.isfinite(leaf)), name
        assert jnp.any(leaf != 0), name


def test_fresh_model_predicts_zero(one):
    """Zero output projections: training starts at the mean velocity."""
    fresh = jax.jit(init_weights, static_argnums=0)(SMALL, jax.random.key(0))
    for velocity in velocities(SMALL, fresh, one, random_cache(SMALL, [1])).values():
        assert jnp.all(velocity == 0)


def test_each_output_has_its_own_timestep(weights, one):
    """Video and action timesteps may differ, and each is looked at."""
    cache = random_cache(SMALL, [1])
    base = velocities(SMALL, weights, one, cache, 700.0, 300.0)
    assert _differs(base, velocities(SMALL, weights, one, cache, 700.0, 301.0))
    assert _differs(base, velocities(SMALL, weights, one, cache, 701.0, 300.0))


def test_start_frame_moves_video_and_action(weights, one):
    """By default it is the number of frames written; both outputs look at it."""
    cache = random_cache(SMALL, [3])
    t = jnp.full(1, 500.0)

    @jax.jit
    def predict(start):
        model = bind(SMALL, weights)
        context = model.encode_context(one["text"])
        video, action = model(
            *(one["video"], one["action"], one["state"], t, t, context, cache),
            start_frame=start,
        )
        return {"video": video, "action": action}

    default = velocities(SMALL, weights, one, cache, 500.0, 500.0)
    _assert_close(default, predict(3))
    moved = predict(5)
    for name, value in default.items():
        assert _differs({name: value}, {name: moved[name]}), name


def test_frame_without_position_is_nan_not_wrong():
    """A position past the table must not pass for another one."""
    start = jnp.array([MAX_FRAMES - 1])
    angles = video_angles(SMALL, start, (2, 2, 2))
    assert jnp.all(jnp.isfinite(angles[:, :4]))
    assert jnp.any(jnp.isnan(angles[:, 4:]))


def test_bfloat16_stays_near_float32(weights, one):
    """Activations may be bfloat16; the velocities that leave are float32."""
    cache = random_cache(SMALL, [3])
    exact = velocities(SMALL, weights, one, cache)
    rough = velocities(replace(SMALL, dtype="bfloat16"), weights, one, cache)
    for name, value in rough.items():
        assert value.dtype == jnp.float32
        error = float(jnp.linalg.norm(value - exact[name]))
        assert error < 0.1 * float(jnp.linalg.norm(exact[name]))


def test_i2v_looks_at_image_and_y():
    """Both conditions of the i2v type reach the output."""
    weights, given = random_weights(I2V), inputs(I2V, 1)
    cache = random_cache(I2V, [1])
    base = velocities(I2V, weights, given, cache)
    for name in ("image", "y"):
        changed = given | {name: np.abs(given[name])}
        assert _differs(base, velocities(I2V, weights, changed, cache)), name


def test_model_without_image_branch_has_no_image_weights(weights):
    """The branch is optional: without it nothing of it is there."""
    assert "img_emb" not in weights
    assert "image" not in weights["blocks"]["cross_attn"]
    assert bind(SMALL, weights).encode_context(jnp.zeros((1, 3, 5))).image is None

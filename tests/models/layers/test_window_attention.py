"""Cached and own keys: one attention to both, or two that are merged."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.layers import attention, fused_attention, window_attention
from jax_stepcache.models.layers.attention import KeysValues
from jax_stepcache.models.layers.window_attention import (
    Seen,
    attend_window,
    concatenated,
    merged,
)

BATCH, HEADS, WIDTH = 3, 2, 8


def part(q: Any, k: Any, v: Any, count: Any) -> Any:
    """What the fused kernel computes, for a CPU; of no keys it makes NaN."""
    logits = jnp.einsum("blhd,bkhd->bhlk", q, k) / np.sqrt(q.shape[-1])
    if count is not None:
        there = jnp.arange(k.shape[1])[None] < count[:, None]
        logits = jnp.where(there[:, None, None], logits, -jnp.inf)
    residual = jax.nn.logsumexp(logits, axis=-1)
    weights = jnp.exp(logits - residual[..., None])
    return jnp.einsum("bhlk,bkhd->blhd", weights, v), residual.swapaxes(1, 2)


def drawn(seed: int, queries: int, keys: int, cached: Any, own: Any) -> Any:
    """Queries, keys and values, and the mask that says what the counts do."""
    draw = jax.random.split(jax.random.key(seed), 5)

    def array(key: Any, tokens: int) -> jax.Array:
        return 2 * jax.random.normal(key, (BATCH, tokens, HEADS, WIDTH))

    q = array(draw[0], queries)
    new = KeysValues(array(draw[1], queries), array(draw[2], queries))
    old = KeysValues(array(draw[3], keys), array(draw[4], keys))
    of_old = np.arange(keys)[None] < np.array(cached)[:, None]
    count = [queries] * BATCH if own is None else own
    of_new = np.arange(queries)[None] < np.array(count)[:, None]
    mask = np.concatenate([of_old, of_new], axis=1)[:, None, None]
    counts = None if own is None else jnp.array(own, jnp.int32)
    seen = Seen(jnp.asarray(mask), jnp.array(cached, jnp.int32), counts)
    return window_attention._Given(q, new, old, seen)


@pytest.mark.slow
@given(
    seed=st.integers(0, 99),
    shape=st.sampled_from([(4, 5), (1, 9)]),
    fractions=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    shorter=st.booleans(),
)
def test_two_attentions_merged_are_one(
    seed: int, shape: tuple[int, int], fractions: list[float], shorter: bool
) -> None:
    """Rule: weighted by the sums of their softmaxes, whatever each row sees."""
    queries, keys = shape
    cached = [round(f * keys) for f in fractions[:BATCH]]
    own = [1 + round(f * (queries - 1)) for f in fractions[BATCH:]]
    case = drawn(seed, queries, keys, cached, own if shorter else None)
    np.testing.assert_allclose(merged(case, part), concatenated(case, "xla"), atol=1e-5)


def test_of_an_empty_cache_nothing_is_taken() -> None:
    """Rule: an attention to no keys is NaN, and reaches no result."""
    case = drawn(0, 4, 5, [0, 5, 0], None)
    assert not np.isfinite(part(case.q, *case.cached, case.seen.cached)[0]).all()
    found = merged(case, part)
    np.testing.assert_allclose(found, concatenated(case, "xla"), atol=1e-5)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As if there were a GPU; notes what would run there."""
    ran: list[str] = []

    def platform_dependent(*operands: Any, cuda: Any, default: Any) -> Any:
        return cuda(*operands)

    def with_residual(q: Any, k: Any, v: Any, count: Any) -> Any:
        ran.append("all" if count is None else "some")
        return part(q, k, v, count)

    def plain(q: Any, k: Any, v: Any, mask: Any, kernel: str) -> Any:
        ran.append(kernel)
        return part(q, k, v, None)[0]

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.lax, "platform_dependent", platform_dependent)
    monkeypatch.setattr(fused_attention, "attend_with_residual", with_residual)
    monkeypatch.setattr(attention, "attention", plain)
    return ran


@pytest.mark.parametrize(
    ("dtype", "kernel", "wanted"),
    [
        ("bfloat16", None, ["all", "some"]),
        ("float16", None, ["all", "some"]),
        ("float32", None, ["xla"]),
        ("bfloat16", "xla", ["xla"]),
        ("bfloat16", "cudnn", ["all", "some"]),
    ],
)
def test_the_kernel_that_suits_is_picked(
    on_a_gpu: list[str], dtype: str, kernel: str | None, wanted: list[str]
) -> None:
    """Rule: the fused one on a GPU in 16 bits, unless another is asked for."""
    case = jax.tree.map(
        lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x,
        drawn(0, 4, 5, [1, 5, 0], None),
    )
    attend_window(*case, kernel)
    assert on_a_gpu == wanted
    on_a_gpu.clear()
    attention.attend(case.q, *case.own, kernel)
    assert on_a_gpu == ["cudnn" if len(wanted) == 2 else "xla"]


def test_keys_that_are_no_prefix_are_masked(on_a_gpu: list[str]) -> None:
    """Rule: where a ring has wrapped around, the fused kernel takes a mask."""
    case = drawn(0, 4, 5, [1, 5, 0], None)
    case = jax.tree.map(
        lambda x: x.astype("bfloat16") if x.dtype == jnp.float32 else x, case
    )
    attend_window(*case[:3], Seen(case.seen.mask), None)
    assert on_a_gpu == ["cudnn"]


def test_without_a_gpu_nothing_asks_for_one() -> None:
    """Rule: in 16 bits on a CPU it is XLA's, and one program for CPUs alone."""
    case = jax.tree.map(
        lambda x: x.astype("bfloat16") if x.dtype == jnp.float32 else x,
        drawn(0, 4, 5, [1, 5, 0], None),
    )
    text = str(jax.make_jaxpr(lambda case: attend_window(*case, None))(case))
    assert "cudnn" not in text
    assert "platform" not in text


def test_derivatives_are_those_of_one_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule: cuDNN's know nothing of the sums that the two are merged by."""
    case = drawn(1, 4, 5, [1, 5, 0], None)
    monkeypatch.setattr(fused_attention, "attend_with_residual", part)

    def loss(floats: Any, kernel: str) -> jax.Array:
        return jnp.sin(attend_window(*floats, case.seen, kernel)).sum()

    floats = case[:3]
    wanted = jax.grad(loss)(floats, "xla")
    found = jax.grad(loss)(floats, "cudnn")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted
    )


def test_this_jax_has_the_residual() -> None:
    """Rule: the function below JAX's public one is where it is looked for."""
    assert fused_attention.has_residual()

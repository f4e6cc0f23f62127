"""Adapters beside frozen kernels: the merged model, without what merging costs."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.dreamzero import bind
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    FlowMatching,
    init_lora,
    merge_lora,
)
from jax_stepcache.models.dreamzero.training.finetune import _Loss, _optimizer
from jax_stepcache.models.dreamzero.training.lora import adapted_weights
from jax_stepcache.models.layers.adapters import Adapter
from jax_stepcache.models.layers.linear import Linear
from jax_stepcache.models.training.step import init_state, train_step

from ..small import SMALL, random_weights
from .sequences import MODEL, random_chunks

RANK, ALPHA = 3, 6.0
WEIGHTS = jax.tree.map(jnp.asarray, random_weights(SMALL))
OBJECTIVE = FlowMatching(MODEL, remat=True)


def lora() -> Any:
    """Adapters whose second factors are not zero."""
    trained = init_lora(WEIGHTS, RANK, jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.1, trained)


def test_an_adapter_is_its_product_added_to_the_kernel() -> None:
    """``x W + (x a) b`` is ``x (W + a b)``, in the dtype of x."""
    rng = np.random.default_rng(0)
    linear = Linear(6, 5, rngs=nnx.Rngs(0))
    linear.adapter = Adapter(6, 5, 2)
    a, b, x = (
        jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((6, 2), (2, 5), (3, 6))
    )
    linear.adapter.a.set_value(a)
    linear.adapter.b.set_value(b)
    wanted = x @ (linear.kernel.get_value() + a @ b)
    np.testing.assert_allclose(linear(x), wanted, rtol=1e-5, atol=1e-5)
    assert linear(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_adapters_stand_beside_affine_maps_only() -> None:
    """A name that is none of these, or a factor that does not fit, is named."""
    weights = adapted_weights(WEIGHTS, lora(), ALPHA)
    assert bind(SMALL, weights).blocks.ffn.layer1.adapter is not None
    assert bind(SMALL, WEIGHTS).blocks.ffn.layer1.adapter is None
    factors = weights["blocks"]["ffn"]["layer1"]["adapter"]
    wrong = {**WEIGHTS, "head": {**WEIGHTS["head"], "adapter": factors}}
    with pytest.raises(ValueError, match="head is no affine map"):
        bind(SMALL, wrong)
    factors["b"] = factors["b"][:, :, :-1]
    with pytest.raises(ValueError, match=r"ffn\.layer1\.adapter\.b has shape"):
        bind(SMALL, weights)


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_the_merged_model() -> None:
    """To float32's tolerance; a model of one layer more or less would be far off."""
    chunks = jax.tree.map(jnp.asarray, random_chunks(MODEL, 2))

    def of(how: Any) -> Any:
        def loss(trained: Any) -> jax.Array:
            weights = how(WEIGHTS, trained, ALPHA)
            return OBJECTIVE(weights, chunks, jax.random.key(1))[0]

        return jax.jit(jax.value_and_grad(loss))(lora())

    def alike(one: Any, other: Any) -> None:
        scale = float(np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * scale)

    jax.tree.map(alike, of(adapted_weights), of(merge_lora))


@pytest.mark.slow
def test_a_training_step_makes_nothing_of_a_frozen_kernels_size() -> None:
    """Neither a product of factors, nor a gradient, of all layers or of one; in the
    compiled program. A merged model has them."""

    def merged(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        return OBJECTIVE(merge_lora(frozen, trained, ALPHA), batch, key)

    assert not made_of_kernels_size(_Loss(OBJECTIVE, ALPHA))
    assert made_of_kernels_size(merged)


def made_of_kernels_size(loss: Any) -> list[str]:
    """Results of a step's program as large as all layers' kernels, other than these;
    and products as large as one."""
    settings = FinetuneSettings(lora=RANK)
    program = train_step.lower(
        init_state(lora(), _optimizer(settings)),
        WEIGHTS,
        jax.tree.map(jnp.asarray, random_chunks(MODEL, 1)),
        jax.random.key(1),
        loss=loss,
        optimizer=_optimizer(settings),
        decay=settings.decay,
    ).compile()
    ffn = WEIGHTS["blocks"]["ffn"]
    every = {ffn[layer]["kernel"].shape for layer in ("layer1", "layer2")}
    found = []
    for dims, op in re.findall(r"= f32\[([\d,]+)\]\S* ([\w-]+)\(", program.as_text()):
        shape = tuple(map(int, dims.split(",")))
        whole = shape in every and op not in ("parameter", "get-tuple-element")
        if whole or (op == "dot" and shape in {one[1:] for one in every}):
            found.append(f"{op} {shape}")
    return found

# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The program of a training step, as `finetune` runs it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax

from jax_stepcache.models.dreamzero.network.parameters import weight_shapes
from jax_stepcache.models.dreamzero.training import FinetuneSettings, init_lora
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.dreamzero.training.finetune import step_of
from jax_stepcache.models.training.fully_sharded import FullySharded, fully_sharded
from jax_stepcache.models.training.step import init_state, train_step
from jax_stepcache.network.registry import load_model


class TrainingAsk(NamedTuple):
    """What to compile.

    Attributes:
        model: a published size of DreamZero.
        lora: rank of the adapters; 0 trains all weights.
        attention: ``"cudnn"`` or ``"xla"``.
        rows: sequences, a multiple of the devices.
        blocks: of each sequence.
    """

    model: str = "droid-14b"
    lora: int = 16
    attention: str = "cudnn"
    rows: int = 1
    blocks: int = 1


def lowered(ask: TrainingAsk, mesh: Any) -> tuple[Any, tuple[Any, ...]]:
    """Makes the step's jitted function and its arguments; nothing is allocated.

    Args:
        ask: what to train.
        mesh: the devices, with axes that `fully_sharded` takes.

    Returns:
        The function, of the arguments alone, and structs of these with shardings.
    """
    model: Any = load_model(ask.model)
    dit = replace(model.dit, dtype="bfloat16", attention=ask.attention)
    model = replace(model, dit=dit)
    layout = fully_sharded(mesh, ask.rows)
    assert layout is not None
    settings = FinetuneSettings(batch=ask.rows, lora=ask.lora)
    loss, optimizer = step_of(model, settings, layout)
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), weight_shapes(dit)
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    trained, frozen = weights, None
    if ask.lora:
        of_rank = partial(init_lora, rank=ask.lora)
        trained = jax.eval_shape(lambda w, k: of_rank(w, key=k), weights, key)
        frozen = weights
    trained = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "float32"), trained)
    state = jax.eval_shape(partial(init_state, optimizer=optimizer), trained)
    batch = chunks_struct(model, ask.rows, ask.blocks)
    arguments = (
        _laid_out(layout, state),
        _laid_out(layout, frozen),
        jax.tree.map(lambda x: _placed(x, layout.rows), batch),
        _placed(key, layout.whole),
    )
    static = {"loss": loss, "optimizer": optimizer, "decay": settings.decay}
    return _Step({**static, "layout": layout}), arguments


class _Step(NamedTuple):
    """`train_step` with what is static of it."""

    static: dict[str, Any]

    def lower(self, *arguments: Any) -> Any:
        """Lowers it."""
        return train_step.lower(*arguments, **self.static)


def _laid_out(layout: FullySharded, tree: Any) -> Any:
    return jax.tree.map(_placed, tree, layout.shardings(tree))


def _placed(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

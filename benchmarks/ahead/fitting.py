# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The program of a step of fitting a table, as `calibrate(cache="bespoke")` runs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache import as_table
from jax_stepcache.calibration.table_curvature import free_of
from jax_stepcache.calibration.table_fit import slope_of
from jax_stepcache.calibration.table_loss import Chunk, Layout
from jax_stepcache.calibration.table_space import Moved, space_of
from jax_stepcache.network.inputs import schedules_of

from .asks import Ask
from .device import placed
from .programs import generation_of


class FittingAsk(NamedTuple):
    """What to compile.

    Attributes:
        model: a published size of DreamZero.
        calls: of the table.
        slopes: see `TableFit`.
        attention: ``"cudnn"`` or ``"xla"``: the first has no forward mode.
        rules: on several devices, a preset's name.
    """

    model: str = "droid-14b"
    calls: int = 4
    slopes: str = "remat"
    attention: str = "cudnn"
    rules: str | None = None


def lowered(ask: FittingAsk, mesh: Any) -> tuple[Any, tuple[Any, ...]]:
    """Makes the function of one sample's slope and its arguments' structs.

    Args:
        ask: what to fit.
        mesh: the devices.

    Returns:
        The function, and structs of its arguments; what is static stays as it is.
    """
    of_model = Ask(ask.model, cache="none", attention=ask.attention, rules=ask.rules)
    generation = generation_of(of_model, mesh)
    model = generation.program.model
    usual = schedules_of(model.outputs, ask.calls, model.defaults.shift, None)
    tables = [as_table("unipc", one) for one in usual.values()]
    schedule = dict(zip(usual, tables, strict=True))
    generation = generation_of(of_model, mesh, schedule=schedule)
    structure = jax.tree.structure(generation.noise)
    spaces = tuple(
        space_of(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), one))
        for one in tables
    )
    moved = tuple(
        Moved(jnp.zeros(ask.calls), jnp.zeros((ask.calls, ask.calls + 1)))
        for _ in tables
    )
    reference = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), generation.noise
    )
    chunk = Chunk(
        replace(generation, noise=placed(mesh, generation.noise)),
        placed(mesh, reference),
    )
    given = free_of(spaces, moved, False), spaces, moved
    shares = jnp.zeros((len(tables), 2))
    static = Layout(structure, False), ask.slopes
    return slope_of, (*static, *placed(mesh, given), chunk, placed(mesh, shares))

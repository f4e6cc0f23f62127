"""What a pipeline compiles besides the sampler: sessions begun, prompted, moved on."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jax_stepcache.meshes.layout import Layout, spread_rows
from jax_stepcache.network.beginning import draw_noise

from ..model import DreamZeroModel
from ..network.stages import DreamZeroCondition
from ..robot.units import actions_to_robot, normalise_state
from ..session import session as sessions
from ..session.observation import Observation
from ..session.placement import placed
from ..session.session import Observed, Session

from_robot = jax.jit(normalise_state, static_argnums=2)
to_robot = jax.jit(actions_to_robot)


@functools.partial(jax.jit, static_argnums=(0, 1))
def start(
    model: DreamZeroModel,
    mesh: Mesh | Layout | None,
    weights: Any,
    text: jax.Array,
    negative: jax.Array | None,
) -> Session:
    """See `session.start`."""
    return placed(sessions.start(model.size, weights, text, negative), mesh)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def prompt(
    model: DreamZeroModel,
    mesh: Mesh | Layout | None,
    weights: Any,
    session: Session,
    text: jax.Array,
    negative: jax.Array | None,
) -> Session:
    """See `session.prompt`."""
    return placed(sessions.prompt(model.size, weights, session, text, negative), mesh)


def condition_struct(model: DreamZeroModel, session: Session) -> Any:
    """Shapes of what a robot will be denoised under; nothing is traced for it."""
    c, rows = model.dit, session.text.shape[0]
    struct: Any = jax.ShapeDtypeStruct
    state = (rows, c.num_state_per_block, c.max_state_dim)
    y = (rows, c.y_dim, c.num_frame_per_block, *model.latent_size)
    return DreamZeroCondition(
        session.context,
        session.cache,
        struct(state, jnp.float32),
        None if session.y is None else struct(y, jnp.float32),
    )


def _observe_and_draw(
    model: DreamZeroModel,
    mesh: Mesh | Layout | None,
    weights: Any,
    session: Session,
    observation: Observation,
    key: jax.Array,
) -> tuple[Observed, dict[str, jax.Array]]:
    """Reads the observation into the cache, and draws each robot the same noise."""
    one = draw_noise(key, model.noise_struct(1))
    noise = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (session.batch, *x.shape[1:])), one
    )
    noise = spread_rows(model, noise)
    observed = sessions.observe(model.size, weights, session, observation, model.layout)
    return observed._replace(session=placed(observed.session, mesh)), noise


observe = jax.jit(_observe_and_draw, static_argnums=(0, 1))
observe_in_place = jax.jit(_observe_and_draw, static_argnums=(0, 1), donate_argnums=3)

"""What a pipeline refuses, before a session is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_arrays, check_key, check_numbers
from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.kept import kept
from jax_stepcache.loop.transfers import sent
from jax_stepcache.network.inputs import default_key
from jax_stepcache.network.params import Params
from jax_stepcache.sampling import check_sampling
from jax_stepcache.solvers import get_solver
from jax_stepcache.solvers.stochastic import draws_noise

from ..model import DreamZeroModel
from ..robot.statistics import Statistics
from ..robot.units import normalise_state
from ..session.batch import check_unused
from ..session.observation import Observation, complete
from ..session.session import Session, session_struct
from . import programs


class Shown(NamedTuple):
    """What a control step is shown, checked.

    Attributes:
        observation: complete, with a normalised state.
        raw: the state as it was given.
    """

    observation: Observation
    raw: Any


def is_guided(guidance_scale: float) -> bool:
    """Whether both branches run."""
    return guidance_scale != 1.0


def checked(
    model: DreamZeroModel,
    guidance_scale: float,
    statistics: Statistics | None,
    session: Session,
    observation: Mapping[str, Any],
    noise: Mapping[str, jax.Array] | None,
) -> Shown:
    """Checks what a control step is given, and completes the observation.

    Raises:
        TypeError: for what is of another kind.
        ValueError: for what does not fit.
    """
    check_session(model, guidance_scale, session)
    observation = kept(observation)
    given, raw = _in_model_units(model, statistics, observation, session.batch)
    whole = complete(model.size, session.position, given)
    if noise is not None:
        if not isinstance(noise, Mapping):
            raise TypeError(
                f"noise is a {type(noise).__name__}; give a mapping with "
                "'video' and 'action'"
            )
        wanted = model.noise_struct(session.batch)
        check_arrays(dict(noise), wanted, "noise")
    return Shown(whole, raw)


def checked_options(
    params: Params,
    preset: Mapping[str, Any],
    guidance_scale: float,
    options: Mapping[str, Any],
    batch: int,
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Checks options of `sample`, and adds the pipeline's own.

    Args:
        params: the weights and their model.
        preset: what a backend has filled in.
        guidance_scale: the pipeline's.
        options: as given.
        batch: how many robots.
        key: of the step, or None.

    Returns:
        The options, with the guidance scale and, for a solver that draws noise, keys.

    Raises:
        TypeError: for what is no option here.
        ValueError: for what does not fit.
    """
    own = options.get("guidance_scale")
    own = guidance_scale if own is None else own
    check_numbers("guidance_scale", own)
    if is_guided(float(own)) != is_guided(guidance_scale):
        raise TypeError(
            f"guidance_scale is {own}, and the pipeline's {guidance_scale}: sessions "
            "have rows for a scale other than 1, or have none; give guidance_scale= "
            "where the pipeline is made"
        )
    for name in ("condition", "negative_condition", "observation", "model"):
        if name in options:
            raise TypeError(f"{name}= is no option here: the session is it")
    for name in ("noise", "key"):
        if name in options:
            raise TypeError(f"{name}= is each robot's own: give {name}s=[...]")
    options = {**options, "guidance_scale": own}
    options["key"] = _keys_of_steps(params, options.get("solver"), batch, key)
    check_sampling(
        params,
        condition=(),
        noise=params.model.noise_struct(batch),
        **{**preset, **options},
    )
    return options


def _keys_of_steps(
    params: Params, solver: Any, batch: int, key: jax.Array | None
) -> jax.Array | None:
    """What draws the noise of a solver's steps: the same for every robot."""
    if key is not None:
        check_key(key)
    model: Any = params.model
    if not draws_noise(get_solver(model.defaults.solver if solver is None else solver)):
        return None
    one: Any = default_key() if key is None else key
    if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one = jax.random.wrap_key_data(one)
    return one if batch == 1 else jnp.broadcast_to(one, (batch,))


def _in_model_units(
    model: DreamZeroModel,
    statistics: Statistics | None,
    observation: Mapping[str, Any],
    batch: int,
) -> tuple[Mapping[str, Any], Any]:
    """The observation with a normalised state, and the state as it was given."""
    if not isinstance(observation, Mapping):
        return observation, None
    state = observation.get("state")
    if statistics is None:
        if isinstance(state, Mapping):
            raise ValueError(
                "observation['state'] is a mapping in a robot's units; that needs "
                "a pipeline with statistics="
            )
        return observation, None
    if not isinstance(state, Mapping):
        names = list(statistics.embodiment.state_keys)
        raise ValueError(
            f"with statistics, observation['state'] is a mapping with {names}; got "
            f"{type(state).__name__}"
        )
    normalise = programs.from_robot
    if not all(isinstance(x, jax.Array | np.ndarray) for x in state.values()):
        normalise = normalise_state  # whose words are about what was given
    there, told = sent((statistics, state))
    normalised = normalise(there, told, model.dit.max_state_dim)
    if normalised.shape[0] != batch:
        raise ValueError(
            f"observation['state'] has {normalised.shape[0]} robots and the "
            f"session {batch}"
        )
    return {**observation, "state": normalised}, state


def check_session(
    model: DreamZeroModel, guidance_scale: float, session: Session
) -> None:
    """Checks that a session is the model's, and has not been stepped on.

    Raises:
        TypeError: if it is none.
        ValueError: if it has other branches, shapes or dtypes, or is used up.
    """
    guided = is_guided(guidance_scale)
    if not isinstance(session, Session):
        raise TypeError(
            f"session is a {type(session).__name__}; begin one with "
            "pipeline.start(text, negative_text)"
        )
    if session.guided != guided:
        raise ValueError(
            f"the session has {'two branches' if session.guided else 'one branch'} "
            f"and the guidance scale is {guidance_scale:g}; begin one with "
            "this pipeline"
        )
    wanted = session_struct(model.size, session.batch, guided, are_apart(session))
    for (path, given), like in zip(
        jax.tree_util.tree_leaves_with_path(session),
        jax.tree.leaves(wanted),
        strict=False,
    ):
        if given.shape != like.shape or given.dtype != like.dtype:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"session{name} is {given.dtype}{list(given.shape)}; this model's "
                f"is {like.dtype}{list(like.shape)}"
            )
    check_unused(session)


def check_apart(session: Session, others: Sequence[Session]) -> None:
    """Checks that no other session gives away what is in this one.

    Raises:
        ValueError: if it is one of them, or shares an array with one.
    """
    own = {id(x) for x in jax.tree.leaves(session)}
    for i, other in enumerate(others):
        if not own.isdisjoint(map(id, jax.tree.leaves(other))):
            raise ValueError(
                f"it was given before, or shares arrays with sessions[{i}]; step each "
                "once, or give donate=False"
            )


def check_lists(
    sessions: Sequence[Session],
    *,
    each: Sequence[Mapping[str, Any]] | None,
    **own: Sequence[Any] | None,
) -> int:
    """Checks that there is an entry of everything for each robot.

    Args:
        sessions: one of each robot.
        each: each one's own options, or None.
        **own: what else each one has of its own, or None.

    Returns:
        How many robots.

    Raises:
        TypeError: for one of what should be a list of them.
        ValueError: if a list is of another length.
    """
    if isinstance(sessions, Session):
        raise TypeError("sessions is one session; give a list of them")
    if not isinstance(sessions, Sequence):
        raise TypeError(
            f"sessions is a {type(sessions).__name__}; give a list of sessions"
        )
    if isinstance(each, Mapping):
        raise TypeError("each is one mapping; give a list, one for each robot")
    robots = len(sessions)
    for name, given in (own | {"each": each}).items():
        if given is not None and len(given) != robots:
            raise ValueError(f"{name} has {len(given)} entries for {robots} robots")
    return robots


def check_text(
    model: DreamZeroModel,
    guidance_scale: float,
    text: Any,
    negative: Any,
    batch: int,
) -> None:
    """Checks encoded prompts.

    Raises:
        ValueError: for shapes that do not fit, and where the negative prompt does not
            go with the guidance.
    """
    c = model.dit
    struct = jax.ShapeDtypeStruct((batch, c.text_len, c.text_dim), jnp.float32)
    if batch < 1:
        raise ValueError(
            f"text has shape {np.shape(text)}; the model takes "
            f"(robots, {c.text_len}, {c.text_dim})"
        )
    check_arrays(text, struct, "text")
    if is_guided(guidance_scale):
        if negative is None:
            raise ValueError(
                f"a guidance scale of {guidance_scale:g} needs negative_text, "
                "the encoded negative prompt"
            )
        check_arrays(negative, struct, "negative_text")
    elif negative is not None:
        raise ValueError("negative_text is not used at a guidance scale of 1")


def check_statistics(statistics: Statistics, model: DreamZeroModel) -> None:
    """Checks that a robot's numbers fit into the model's.

    Raises:
        TypeError: if these are no statistics.
        ValueError: if a robot has more components than the model has room for.
    """
    if not isinstance(statistics, Statistics):
        raise TypeError(
            f"statistics is a {type(statistics).__name__}; give what load_statistics "
            "returned"
        )
    for name, width, room in (
        ("actions", statistics.action_width, model.dit.action_dim),
        ("states", statistics.state_width, model.dit.max_state_dim),
    ):
        if width > room:
            raise ValueError(
                f"{statistics.embodiment.name} has {name} of {width} components; the "
                f"model has {room}"
            )

"""What users hand to `sample`, checked before anything is traced."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jax_stepcache.check import (
    batch_size,
    check_arrays,
    check_floating,
    check_leaves,
    structs_of,
)
from jax_stepcache.errors import unknown_name
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.own_rows import apart_from
from jax_stepcache.solvers.schedule import flow_schedule


class Inputs(NamedTuple):
    """What the condition is made of: an observation still to prepare, or itself.

    Attributes:
        observation: for the model's ``prepare``, or None.
        condition: for the network as it is, where there is no observation.
        negative: arrays of the other branch's condition, for a user's network under
            guidance; see `apart_from`.
    """

    observation: Any
    condition: Any
    negative: tuple[Any, ...] | None = None


_KIND = "jax_default_prng_impl"


def default_key() -> jax.Array:
    """``jax.random.key(0)``, which draws where nobody gives a key.

    A program makes it, so that nothing is sent to the device for it.
    """
    return _key(getattr(jax.config, _KIND, None))


@functools.partial(jax.jit, static_argnums=0)
def _key(kind: str | None) -> jax.Array:
    return jax.random.key(0, impl=kind)


def schedules_of(
    outputs: tuple[str, ...] | None,
    num_steps: int,
    shift: float,
    final_noise: float | Mapping[str, float] | None,
) -> Any:
    """One schedule, or one for each output where the model names its outputs.

    Raises:
        ValueError: for numbers that do not fit, or an output that there is not.
    """
    if isinstance(final_noise, Mapping):
        for name in final_noise:
            if name not in (outputs or ()):
                raise ValueError(unknown_name("output", name, outputs or ()))
    if outputs is None:
        return flow_schedule(num_steps, shift, final_noise)  # pyright: ignore
    each = (
        final_noise
        if isinstance(final_noise, Mapping)
        else dict.fromkeys(outputs, final_noise)
    )
    return {name: flow_schedule(num_steps, shift, each.get(name)) for name in outputs}


def usual_schedules(
    model: Any,
    num_steps: int,
    shift: float,
    final_noise: float | Mapping[str, float] | None,
) -> Any:
    """`schedules_of` a model where nobody names another; its own, where it has one.

    Raises:
        ValueError: as `schedules_of`; or for a final noise where it has one.
    """
    usual = schedules_of(model.outputs, num_steps, shift, final_noise)
    if getattr(getattr(model, "function", None), "needs_schedule", False):
        raise ValueError(
            "a model of as_flow has times of its own: with flow = as_flow(...) give "
            "schedule=flow.schedule(...) and noise=flow.start(noise, schedule)"
        )
    own = getattr(model, "usual_schedule", None)
    if own is None:
        return usual
    if final_noise is not None:
        raise ValueError(
            f"final_noise is {final_noise!r:.80}; {model.name} has noise levels of its "
            "own, which end at 0. schedule= takes others"
        )
    return own(int(num_steps), float(shift))


def check_inputs(
    model: Any,
    observation: Any,
    condition: Any,
    negative_condition: Any,
    noise: Any,
    guided: bool,
) -> Inputs:
    """Checks what the network will be shown.

    Args:
        model: the model.
        observation: as given to `sample`.
        condition: likewise.
        negative_condition: likewise.
        noise: likewise.
        guided: whether both branches run.

    Returns:
        The observation, one of the model's own where none is given, or the condition.

    Raises:
        ValueError: for shapes, dtypes and combinations that do not fit.
        TypeError: for arguments that this kind of model does not take.
    """
    for what, given in (
        ("observation", observation),
        ("condition", condition),
        ("negative_condition", negative_condition),
        ("noise", noise),
    ):
        check_leaves(given, what)
    batch = 1
    if noise is not None:
        check_floating(noise, "noise")
        batch = batch_size(noise, "noise")
    if isinstance(model, FunctionModel):
        if observation is not None:
            raise TypeError("a model of your own takes condition=, not observation=")
        return _own_inputs(condition, negative_condition, guided)
    if negative_condition is not None:
        raise TypeError(
            f"{model.name} makes its own unconditional branch; leave out "
            "negative_condition="
        )
    if observation is not None and condition is not None:
        raise TypeError("give an observation or a condition, not both")
    if condition is not None:
        if noise is None:
            raise ValueError("a condition needs noise=, which sets the batch size")
        check_arrays(noise, model.noise_struct(batch), "noise")
        return Inputs(None, condition)
    if observation is None:
        observation = model.example(default_key(), batch)
    observed = model.check_observation(observation)
    if noise is not None:
        check_arrays(noise, model.noise_struct(observed), "noise")
    return Inputs(observation, None)


def _own_inputs(condition: Any, negative: Any, guided: bool) -> Inputs:
    """A user's branches; that of guidance only under guidance."""
    if not guided:
        if negative is not None:
            raise ValueError(
                "negative_condition= is not used at a guidance scale of 1; leave it "
                "out or set guidance_scale"
            )
        return Inputs(None, condition)
    if condition is None or negative is None:
        raise ValueError(
            "a guidance scale other than 1 needs condition= and negative_condition="
        )
    check_arrays(negative, structs_of(condition), "negative_condition")
    return Inputs(None, condition, apart_from(condition, negative))

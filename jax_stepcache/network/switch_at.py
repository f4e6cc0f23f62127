"""Two networks in one loop: one at high noise, the other at low."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_numbers, described, static_count
from jax_stepcache.errors import brief, naming, naming_fields
from jax_stepcache.meshes.varying import cond
from jax_stepcache.network.called import asking, check_takes
from jax_stepcache.network.own import function_model
from jax_stepcache.network.stages import STAGES, has_stages, pair
from jax_stepcache.solvers.schedule import Schedule


@naming_fields({"above": "high", "below": "low", "boundary": "sigma"})
@dataclass(frozen=True)
class SwitchAt:
    """Two networks, of which each row asks the one that its noise level is for.

    As Wan 2.2's two experts, or a large network and a small one. Each is what `sample`
    takes as ``model``: a function, stages, or what `adapt` made. Their weights are a
    mapping, ``{"high": ..., "low": ...}``. Make it once: another object is another
    program. A network that no row asks is not run. Caches start clean where the second
    takes over, by settings that ``cache_config``'s ``"high"`` and ``"low"`` give to
    one of the two, or by a `switching` of two policies.

    Attributes:
        high: the network at high noise.
        low: the network at low noise. For caches that look inside, both must let the
            same shapes flow through their blocks. The deeper one's additional blocks
            count as one with the block in the middle.
        sigma: the noise level from which on, upwards, ``high`` is asked, in [0, 1].
        timestep: the same as the networks are told of it; 1000 times ``sigma`` unless
            given.
    """

    high: Any
    low: Any
    sigma: float
    timestep: float | None = None
    _in_step: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        """Checks the networks and the level.

        Raises:
            TypeError: for something that is no network.
            ValueError: for a level that is none.
        """
        for name in ("high", "low"):
            given = getattr(self, name)
            if not callable(given) and not has_stages(given):
                raise TypeError(
                    f"{name} is {brief(given)}; it must be a network: a function "
                    "(params, sample, t, condition), or an object with stages"
                )
            if callable(given):
                check_takes(name, given)
        check_numbers("sigma", self.sigma, least=0.0, most=1.0)
        object.__setattr__(self, "sigma", float(self.sigma))
        if self.timestep is not None:
            check_numbers("timestep", self.timestep)
            object.__setattr__(self, "timestep", float(self.timestep))

    @classmethod
    def at_step(cls, high: Any, low: Any, step: int, schedule: Schedule) -> SwitchAt:
        """Two networks of which the second takes over at a step of a schedule.

        Args:
            high: see `SwitchAt`.
            low: likewise.
            step: the first step of ``low``, from 1 on.
            schedule: the schedule that will be sampled with.

        Returns:
            The networks.

        Raises:
            ValueError: if the schedule has no such step.
            TypeError: if it is none.
        """
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule is {brief(schedule)}; give the schedule of the sampling, "
                "such as explicit_schedule(sigmas)"
            )
        count = len(np.asarray(schedule.timesteps))
        step = static_count("step", step, 1)
        if step >= count:
            raise ValueError(
                f"step is {step}; of the schedule's {count} steps it must leave one to "
                f"each network: 1 to {count - 1}"
            )
        sigmas, times = (
            np.asarray(x, np.float64)[step - 1 : step + 1]
            for x in (schedule.sigmas, schedule.timesteps)
        )
        return cls(high, low, float(sigmas.mean()), float(times.mean()))

    @property
    def experts_meet_at(self) -> float:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        return self.sigma

    def in_step(self) -> SwitchAt:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        return replace(self, _in_step=True)

    @property
    def num_blocks(self) -> int:
        """How many blocks both have."""
        return min(one.num_blocks for one in self._each())

    @property
    def modulated(self) -> Callable[[Any, Any, Any], jax.Array] | None:
        """See `Stages.modulated`; None where one of the two lacks it."""
        if any(getattr(one, "modulated", None) is None for one in self._each()):
            return None
        return self._modulated

    @property
    def needs_schedule(self) -> bool:
        """Whether one of them is a flow of `as_flow` with times of its own."""
        both = self.high, self.low
        return any(getattr(one, "needs_schedule", False) for one in both)

    @property
    def lacking(self) -> Mapping[str, str]:
        """See `check_stages`: which of the two lacks it, and what to give."""
        found: dict[str, str] = {}
        for name in ("high", "low"):
            one = getattr(self, name)
            if getattr(one, "modulated", None) is None:
                how = getattr(one, "lacking", {}).get("modulated", "")
                found.setdefault(
                    "modulated",
                    f"SwitchAt asks both networks, and {name}, {type(one).__name__}, "
                    f"lacks it: {how or 'give it one'}",
                )
            if how := getattr(one, "lacking", {}).get("blocks"):
                found.setdefault("blocks", f"Of {name}: {how}")
        return found

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The velocity, of each row by its network."""

        def run(network: Any, weights: Any, which: int) -> Any:
            del which
            with asking(_name(network), sample, condition):
                return function_model(network).denoise(weights, sample, t, condition)

        return self._asked(params, t, run)

    def embed(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """See `Stages.embed`."""
        made = []
        each = zip(("high", "low"), self._each(), self._weights(params), strict=True)
        for name, n, w in each:
            with naming("networks", name):
                made.append(
                    jax.eval_shape(
                        lambda n=n, w=w: pair(n.embed(w, sample, t, condition))
                    )
                )
        (hidden, first), (other, second) = made
        if _shapes(hidden) != _shapes(other):
            raise ValueError(
                f"high's blocks are given {described(hidden)}, and low's "
                f"{described(other)}; a cache that looks inside has one memory for "
                "both. step_cache and static serve any two networks"
            )

        def run(network: Any, weights: Any, which: int) -> Any:
            hidden, context = pair(network.embed(weights, sample, t, condition))
            both = [jax.tree.leaves(_nothing(x)) for x in (first, second)]
            both[which] = jax.tree.leaves(context)
            return hidden, tuple(both)

        hidden, leaves = self._asked(params, t, run, keep=True)
        # What is static of a context need not equal that of another tracing.
        contexts = (
            jax.tree.unflatten(jax.tree.structure(like), own)
            for like, own in zip((first, second), leaves, strict=True)
        )
        return hidden, (tuple(contexts), t)

    def embed_through(
        self, params: Any, sample: Any, t: Any, condition: Any, stop: int
    ) -> Any:
        """See `jax_stepcache.network.stages.AtOnce`."""

        def run(network: Any, weights: Any, which: int) -> Any:
            del which
            hidden, context = pair(network.embed(weights, sample, t, condition))
            return network.blocks(
                weights, hidden, context, *self._own(network, 0, stop)
            )

        return self._asked(params, t, run)

    def blocks(
        self, params: Any, hidden: Any, context: Any, start: int, stop: int
    ) -> Any:
        """See `Stages.blocks`."""
        contexts, t = context

        def run(network: Any, weights: Any, which: int) -> Any:
            own = self._own(network, start, stop)
            return network.blocks(weights, hidden, contexts[which], *own)

        return self._asked(params, t, run)

    def head(self, params: Any, hidden: Any, context: Any) -> Any:
        """See `Stages.head`."""
        contexts, t = context
        return self._asked(
            params, t, lambda n, w, which: n.head(w, hidden, contexts[which])
        )

    def _modulated(self, params: Any, hidden: Any, context: Any) -> Any:
        contexts, t = context
        return self._asked(
            params, t, lambda n, w, which: n.modulated(w, hidden, contexts[which])
        )

    def _own(self, network: Any, start: int, stop: int) -> tuple[int, int]:
        """Blocks of both as those of one: the deeper one's count in the middle."""
        more, middle = network.num_blocks - self.num_blocks, self.num_blocks // 2
        return start + more * (start > middle), stop + more * (stop > middle)

    def _each(self) -> tuple[Any, Any]:
        for name in ("high", "low"):
            network = getattr(self, name)
            missing = [x for x in STAGES if getattr(network, x, None) is None]
            if missing:
                raise AttributeError(f"{name} lacks {', '.join(missing)}")
        return self.high, self.low

    def _weights(self, params: Any) -> tuple[Any, Any]:
        if not isinstance(params, Mapping) or set(params) != {"high", "low"}:
            told = f"a {type(params).__name__}"
            if isinstance(params, Mapping):
                told = sorted(map(str, params))
            raise ValueError(
                "the weights of SwitchAt must be a mapping with those of each network, "
                f"'high' and 'low'; got {told}"
            )
        return params["high"], params["low"]

    def _asked(
        self,
        params: Any,
        t: Any,
        run: Callable[[Any, Any, int], Any],
        keep: bool = False,
    ) -> Any:
        """Each row of what its network says; a network runs if a row wants it.

        Args:
            params: the weights of both.
            t: timesteps of the rows.
            run: ``(network, weights, which) -> tree`` of [rows, ...] arrays.
            keep: whether it also returns what each has of its own, by its place.
        """
        boundary = 1000 * self.sigma if self.timestep is None else self.timestep
        wants_low = jax.tree.leaves(t)[0] < boundary
        weights = self._weights(params)

        def high() -> Any:
            with naming("networks", "high"):
                return run(self.high, weights[0], 0)

        def low() -> Any:
            with naming("networks", "low"):
                return run(self.low, weights[1], 1)

        if self._in_step:
            return cond(~wants_low[0], high, low)

        def mixed(first: Any) -> Any:
            second = low()
            if not keep:
                return _by_row(wants_low, second, first)
            (hidden, own), (before, others) = second, first
            return _by_row(wants_low, hidden, before), (others[0], own[1])

        # Reuse what there is where nobody asks: two conds, and neither copies weights.
        empty = _nothing(jax.eval_shape(high))
        first = cond((~wants_low).any(), lambda _: high(), lambda x: x, empty)
        return cond(wants_low.any(), mixed, lambda x: x, first)


def _name(network: Any) -> str:
    return getattr(network, "__name__", type(network).__name__)


def _by_row(wants_low: jax.Array, low: Any, high: Any) -> Any:
    def each(low: jax.Array, high: jax.Array) -> jax.Array:
        after = (1,) * (low.ndim - 1)
        return jnp.where(wants_low.reshape(-1, *after), low, high)

    return jax.tree.map(each, low, high)


def _nothing(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def _shapes(tree: Any) -> Any:
    return jax.tree.structure(tree), [x.shape for x in jax.tree.leaves(tree)]

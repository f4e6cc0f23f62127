"""Noise levels that a model has of its own, asked for by name."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from jax_stepcache import Params, explicit_schedule, sample
from jax_stepcache.network.optimised import with_own_levels
from jax_stepcache.network.protocol import OptimisedLevels
from jax_stepcache.solvers import Euler, UniPC
from jax_stepcache.solvers.named import name_of

from ..small_model import SmallModel, small_params

LEVELS = explicit_schedule([0.9, 0.4, 0.1, 0.0], [900.0, 399.5, 100.0])


@dataclass(frozen=True)
class Spaced(SmallModel):
    """The small model with noise levels of three steps of its solver."""

    def optimised(self, num_steps):
        if num_steps != 3:
            raise ValueError(f"no levels of {num_steps} steps; there are [3]")
        return OptimisedLevels(LEVELS, "euler")


def test_a_models_own_levels_stand_where_a_name_does():
    """They are the same as the schedule itself."""
    params = Params(small_params().weights, Spaced())
    by_name = sample(params, schedule="optimised", num_inference_steps=3)
    wanted = sample(params, schedule=LEVELS)
    for name, end in wanted.sample.items():
        np.testing.assert_array_equal(by_name.sample[name], end)


def test_what_there_is_not_is_told():
    """A model without any, another number of steps, another solver."""
    params = Params(small_params().weights, Spaced())
    given: Any
    options: dict[str, Any]
    for given, options, message in (
        (small_params(), {}, "small has no optimised noise levels; calibrate"),
        (params, {"num_inference_steps": 4}, r"there are \[3\]"),
        (
            params,
            {"num_inference_steps": 3, "solver": "unipc"},
            "found for the solver 'euler', and solver is UniPC",
        ),
        (params, {"num_inference_steps": 3, "shift": 5.0}, "levels are its own"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(given, schedule="optimised", **options)
    with pytest.raises(ValueError, match="Did you mean 'optimised'"):
        sample(params, schedule="optimized")
    with pytest.raises(ValueError, match="a model's own, of all its outputs"):
        sample(params, schedule={"action": "optimised", "video": "karras"})
    assert with_own_levels("optimised", Spaced(), 3, Euler()) == LEVELS
    assert with_own_levels("karras", Spaced(), 4, Euler()) == "karras"


def test_a_solver_with_options_finds_its_own():
    """What a solver without a name is called is compared, and not looked up."""
    solver = UniPC(order=3)

    @dataclass(frozen=True)
    class OfThird(SmallModel):
        def optimised(self, num_steps):
            return OptimisedLevels(LEVELS, name_of(solver))

    assert with_own_levels("optimised", OfThird(), 3, solver) == LEVELS
    with pytest.raises(ValueError, match="found for the solver"):
        with_own_levels("optimised", OfThird(), 3, UniPC())

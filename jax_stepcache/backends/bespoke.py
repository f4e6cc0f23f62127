"""Tables that a calibration found: fewer steps, and each where it is worth most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_stepcache.backends.around import AroundBackend
from jax_stepcache.backends.experts import refuse_settings_of_each
from jax_stepcache.check import check_count
from jax_stepcache.network.protocol import Model, TunedTable
from jax_stepcache.policy.named import Uncached
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers.table_family import as_family, over_of, without_own


class BespokeBackend(AroundBackend):
    """Samples by a table: the model's for ``budget`` calls, or one that is given.

    A table is a solver and a schedule. It skips no step of them: there are no more than
    it makes calls.
    """

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`: every call is made."""
        del num_inference_steps
        self.tables(model, {})
        return Uncached()

    def tables(self, model: Model, sampler: Mapping[str, Any]) -> Any:
        """See `CacheBackend.tables`."""
        why = "a table has the calls of both experts"
        refuse_settings_of_each(self.config, model, "bespoke", why)
        table, budget = self.config.table, self.config.budget
        if (table is None) == (budget is None):
            raise ValueError(
                "cache='bespoke' needs either a budget, the number of model calls for "
                f"which {model.name} has a table, or cache_config's table, as "
                "calibrate(cache='bespoke') finds it"
            )
        if self.config.forecast is not None:
            raise ValueError(
                "forecast goes with a cache that skips steps; a table has none to skip"
            )
        if budget is None:
            found = as_family(table, "cache_config['table']")
            check_brought(without_own(found, sampler), None)
            return found
        own = table_of(model, budget)
        check_brought(without_own(own.tables, sampler), own.num_steps)
        return own.tables

    def holds_for(self, model: Model, tabled: bool) -> Mapping[str, Any] | None:
        """See `CacheBackend.holds_for`; of a table that is given nothing is known."""
        del tabled
        budget = self.config.budget
        return None if budget is None else found_with(table_of(model, budget))


def table_of(model: Any, budget: Any) -> TunedTable:
    """A model's own table.

    Args:
        model: the model.
        budget: number of model calls.

    Returns:
        The table.

    Raises:
        ValueError: if it has none of so many calls.
    """
    check_count("budget", budget, 1)
    find = getattr(model, "bespoke", None)
    if find is None:
        raise ValueError(
            f"{model.name} has no tables; calibrate(cache='bespoke') finds one, and "
            "cache_config={'table': ...} or schedule= takes it"
        )
    return find(budget)


def found_with(own: TunedTable) -> Mapping[str, Any]:
    """Options that a table was found with; None for the one that a family is over."""
    over = over_of(own.tables)
    return own.holds_for if over is None else {**own.holds_for, over: None}


def check_brought(sampler: Mapping[str, Any], num_steps: int | None) -> None:
    """Checks that nothing is asked of the sampler that a table brings itself.

    Args:
        sampler: options of `sample` that were given.
        num_steps: of the sampler that it stands for, which may be named; None for none.

    Raises:
        ValueError: naming what was given.
    """
    steps = sampler.get("num_inference_steps")
    if num_steps is not None and steps is not None and steps != num_steps:
        raise ValueError(
            f"num_inference_steps is {steps}; the table stands for the sampler of "
            f"{num_steps} steps, and makes its own number of calls, the budget"
        )
    for name, given in sampler.items():
        if name != "num_inference_steps" or num_steps is None:
            raise ValueError(
                f"{name} is {given!r:.80}, and a table brings its own solver and noise "
                f"levels; leave out {name}, or calibrate a table for it"
            )

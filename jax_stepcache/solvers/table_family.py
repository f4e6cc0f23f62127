"""Tables for several guidance scales, or shifts, and all that lie between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_numbers, fetched
from jax_stepcache.errors import naming_fields, unknown_name
from jax_stepcache.solvers.schedule import num_steps_of
from jax_stepcache.solvers.table import as_tables, table_to_json

OVER = ("guidance_scale", "shift")
"""What tables may depend on."""

_ALIKE = (*OVER, "guidance_interval")


@naming_fields()
@dataclass(frozen=True, eq=False)
class TableFamily:
    """A table for each of a few values of an option of `sample`.

    It stands where a table does. Sampled is the table of the option's value: between
    two of them what lies there on the line, beyond them the last one.

    Attributes:
        over: ``"guidance_scale"`` or ``"shift"``.
        at: two values or more, rising.
        tables: one for each, all of as many calls and of the same outputs.
    """

    over: str
    at: Sequence[float]
    tables: Sequence[Any]

    def __post_init__(self) -> None:
        """Checks the family.

        Raises:
            ValueError: for another option, values that do not rise, or tables that are
                not alike.
            TypeError: for what is no number or no table.
        """
        if self.over not in OVER:
            raise ValueError(unknown_name("option of tables", self.over, OVER))
        check_numbers("at of the tables", self.at, shape=(None,))
        values = tuple(float(x) for x in np.asarray(fetched(self.at)))
        if len(values) < 2 or np.any(np.diff(values) <= 0):
            raise ValueError(
                f"the tables are at {list(values)}; give two values or more, rising"
            )
        tables = tuple(
            as_tables(one, f"the table at {value:g}")
            for value, one in zip(values, self.tables, strict=False)
        )
        if len(tables) != len(values) or len(self.tables) != len(values):
            raise ValueError(
                f"there are {len(self.tables)} tables and {len(values)} values"
            )
        first, *others = ((num_steps_of(x), jax.tree.structure(x)) for x in tables)
        if any(one != first for one in others):
            raise ValueError(
                "the tables of a family differ in calls or outputs: "
                f"{[num_steps_of(x) for x in tables]} calls"
            )
        object.__setattr__(self, "at", values)
        object.__setattr__(self, "tables", tables)

    @property
    def num_steps(self) -> int:
        """Number of network calls."""
        return num_steps_of(self.tables[0])

    def to_json(self) -> dict[str, Any]:
        """What JSON has for it, and ``cache_config={"table": ...}`` takes."""
        tables = [table_to_json(one) for one in self.tables]
        return {"over": self.over, "at": list(self.at), "tables": tables}

    def between(self, value: Any) -> Any:
        """The table of a value.

        Args:
            value: a number, which may be traced; or one for each sample, all equal.

        Returns:
            A table, or one for each output.

        Raises:
            ValueError: for samples whose values differ: a batch has one table.
        """
        if not isinstance(value, Tracer):
            values = np.asarray(fetched(value), np.float64)
            if np.ptp(values) > 0:
                raise ValueError(
                    f"{self.over} differs among the samples of a batch, and a batch "
                    "has one table; sample_many gives each request its own"
                )
            value = values.ravel()[0]
        elif jnp.ndim(value):
            raise ValueError(
                f"{self.over} is traced, one for each sample, and a batch has one table"
            )
        backend = jnp if isinstance(value, Tracer) else np
        # Weights of all of them: of the two around it, and of no other.
        units = np.eye(len(self.at))
        shares = [backend.interp(value, np.array(self.at), unit) for unit in units]

        def mixed(*parts: Any) -> Any:
            return sum(share * part for share, part in zip(shares, parts, strict=True))

        return jax.tree.map(mixed, *self.tables)


def over_of(given: Any) -> str | None:
    """The option that tables depend on; None for anything but a family."""
    return given.over if isinstance(given, TableFamily) else None


def without_own(tables: Any, sampler: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given, but for the one that a family of tables is over."""
    return {name: x for name, x in sampler.items() if name != over_of(tables)}


def in_family(given: Any, options: Any, defaults: Any) -> Any:
    """Of a family the tables of what is asked for; anything else as it is.

    Args:
        given: what was given for a table.
        options: an object with the options of `sample`.
        defaults: likewise with those that are not given.

    Returns:
        What was given, or a table, or one for each output.

    Raises:
        ValueError: see `TableFamily.between`.
    """
    if not isinstance(given, TableFamily):
        return given
    asked = getattr(options, given.over)
    return given.between(getattr(defaults, given.over) if asked is None else asked)


def as_family(given: Any, what: str = "the table") -> Any:
    """A family from what JSON has for it; or tables, see `as_tables`.

    Args:
        given: a family, or a mapping with its attributes; tables, or what they are in
            JSON.
        what: what it is, for the error.

    Returns:
        The family, or checked tables.

    Raises:
        ValueError: for what is neither.
        TypeError: likewise.
    """
    if isinstance(given, TableFamily):
        return given
    if isinstance(given, Mapping) and set(given) == {"over", "at", "tables"}:
        return TableFamily(**given)
    return as_tables(given, what)


def family_of(*calibrations: Any) -> TableFamily:
    """Makes a family of tables that were found at several values of an option.

    Args:
        *calibrations: of ``calibrate(cache="bespoke", guidance_scale=...)``, or of
            ``shift=...``: the same otherwise.

    Returns:
        The family.

    Raises:
        ValueError: if they do not differ in just one of these options, are of something
            else than tables, or stand for samplers that differ otherwise.
    """
    samplers = [
        dict(one.sampler) | {"shift": one.fit.get("shift")} for one in calibrations
    ]
    tables = [one.cache_config.get("table") for one in calibrations]
    over = [
        name
        for name in OVER
        if all(one.get(name) is not None for one in samplers)
        and len({float(one[name]) for one in samplers}) == len(samplers)
    ]
    if len(samplers) < 2 or len(over) != 1 or any(one is None for one in tables):
        raise ValueError(
            "a family is of two calibrations or more of cache='bespoke', each with "
            f"another {' or '.join(OVER)}; these have {samplers!r:.200}"
        )
    (name,) = over
    for what in ("num_steps", "solver", *_ALIKE):
        each = [
            one.fit.get(what, sampler.get(what))
            for one, sampler in zip(calibrations, samplers, strict=True)
        ]
        if what != name and any(repr(one) != repr(each[0]) for one in each):
            raise ValueError(
                "the tables of a family stand for one sampler, and these differ in "
                f"{what}: {each!r:.200}"
            )
    pairs = zip(samplers, tables, strict=True)
    ordered = sorted(((float(one[name]), table) for one, table in pairs), key=_value)
    return TableFamily(name, [at for at, _ in ordered], [table for _, table in ordered])


def _value(pair: tuple[float, Any]) -> float:
    return pair[0]

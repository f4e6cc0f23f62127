"""A request: what one sample is asked for with, among others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from jax_stepcache.errors import unknown_name


@dataclass(frozen=True, eq=False)
class Request:
    """One sample to be made. Its result is what `sample` gives for it alone.

    Every field is the option of `sample` of that name; None leaves it to what all
    requests share. Arrays are batches of one, as for `sample`.

    Attributes:
        observation: what a bundled model is shown.
        condition: what a model of one's own is told.
        negative_condition: what it is told in the unconditional branch.
        noise: the sample at the first sigma.
        key: draws the noise where none is given.
        cache: a backend, a policy, or a name; all requests have the same parts in it,
            with other numbers.
        cache_config: the cache's settings.
        budget: model calls, for ``cache="tuned"``.
        forecast: what a skipped step uses.
        num_inference_steps: solver steps.
        shift: timestep shift.
        final_noise: sigma at which the schedule stops.
        schedule: a schedule, instead of ``num_inference_steps``, ``shift`` and
            ``final_noise``.
        guidance_scale: classifier-free guidance.
    """

    observation: Any = None
    condition: Any = None
    negative_condition: Any = None
    noise: Any = None
    key: jax.Array | None = None
    cache: Any = None
    cache_config: Any = None
    budget: int | None = None
    forecast: Any = None
    num_inference_steps: int | None = None
    shift: float | None = None
    final_noise: Any = None
    schedule: Any = None
    guidance_scale: float | None = None

    def options(self) -> dict[str, Any]:
        """Those that are given."""
        names = [field.name for field in dataclasses.fields(self)]
        given = {name: getattr(self, name) for name in names}
        return {name: x for name, x in given.items() if x is not None}


def as_request(given: Request | Mapping[str, Any]) -> Request:
    """Makes a `Request` of a mapping with the same names.

    Raises:
        TypeError: if it is neither.
        ValueError: for a name that there is not.
    """
    if isinstance(given, Request):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(
            f"a request is a Request, or a mapping with its fields; got {given!r:.80}"
        )
    known = [field.name for field in dataclasses.fields(Request)]
    for name in given:
        if name not in known:
            raise ValueError(unknown_name("field of a request", name, known))
    return Request(**given)

"""Which programs are looked at, on which GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .asks import ENCODERS, EXPERTS, FILMS, MANY, ROBOTS, Ask

GPUS = ("h100", "h200")
CACHES = (
    "step_cache",
    "tea_cache",
    "cache_dit",
    "mag_cache",
    "sea_cache",
    "first_block_cache",
    "taylor_seer",
    "none",
)
# Network calls of a generation of 16 steps, for the floor.
CALLS = 4.0
# Of a film's, half of its release's steps.
_HALF: Mapping[str, float] = MappingProxyType(
    dict(zip(FILMS, (25.0, 25.0, 20.0), strict=True))
)
# Of those, the ones that differ in what they keep: nothing inside the network, the
# residual of all blocks, and that of all but the first.
_OF_FILMS = ("none", "step_cache", "tea_cache", "cache_dit")
# Where the authors' TeaCache has nothing published, a cache that keeps the residual of
# all blocks and nothing else.
_OF_EXPERTS = (*_OF_FILMS, "mag_cache")


class Case(NamedTuple):
    """A program, on devices.

    Attributes:
        ask: the program.
        gpu: of `GPUS`.
        devices: how many.
    """

    ask: Ask
    gpu: str = "h100"
    devices: int = 1

    @property
    def name(self) -> str:
        """Everything that tells it from others, in words."""
        ask = self.ask
        words = [ask.model, ask.program]
        samples = ask.program in ("sample", "expert", *MANY)
        words += [ask.cache] if samples else []
        words += ["each for itself"] if ask.decide == "sample" else []
        words += [ask.attention] if ask.model in ROBOTS else []
        words += ["stacked"] if ask.layers == "stacked" else []
        words += [f"{ask.rows} rows"] if ask.rows > 1 else []
        devices = f"{self.devices} {self.gpu}"
        return f"{' '.join(words)} on {devices} {ask.rules or ''}".strip()

    @property
    def mesh(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The shape of the mesh and the names of its axes."""
        if self.ask.rules == "branches":
            parts = self.devices // 2
            return (
                ((2, parts), ("branch", "tensor")) if parts > 1 else ((2,), ("branch",))
            )
        return (self.devices,), (self.ask.rules or "devices",)

    @property
    def calls(self) -> float | None:
        """Network calls; observing has a conditional, for those who begin a window."""
        if self.ask.program not in ("sample", "expert", *MANY):
            return 0.0
        if self.ask.cache == "none":
            return None
        return _HALF.get(self.ask.model, CALLS)


def cases(models: list[str], devices: list[int], caches: list[str]) -> Iterator[Case]:
    """All that tell something.

    Every cache, both kinds of attention, slots and samples that decide each for itself
    on one H100; the cache of StepCache on meshes, of the large models by guidance
    branches and by heads, wan22-5b on the fewest GPUs and the most; and droid-14b on
    one H200. What encoders are asked for, on one H100. Films on one and on eight.
    """
    for model in models:
        if model in FILMS:
            yield from _of_film(model, devices, caches)
            continue
        if model in ENCODERS:
            if 1 in devices:
                asks = (Ask(model, each, "none") for each in ENCODERS[model])
                yield from map(Case, asks)
            continue
        if 1 in devices:
            yield from _alone(model, caches)
        for count in (n for n in devices if n > 1):
            yield from _spread(model, count, caches[0])


def _alone(model: str, caches: list[str]) -> Iterator[Case]:
    robots = model in ROBOTS
    if robots:
        yield Case(Ask(model, "observe", "none"))
    yield from (Case(Ask(model, cache=cache)) for cache in caches)
    first = caches[0]
    yield Case(Ask(model, cache=first, layers="stacked"))
    yield Case(Ask(model, cache=first, decide="sample", rows=2))
    yield from (Case(Ask(model, many, first, rows=2)) for many in MANY)
    if robots:
        yield Case(Ask(model, "observe", "none", attention="xla"))
        yield Case(Ask(model, cache=first, attention="xla"))
    if model == "droid-14b":
        yield Case(Ask(model, "observe", "none"), "h200")
        yield Case(Ask(model, cache=first), "h200")


def _of_film(model: str, devices: list[int], caches: list[str]) -> Iterator[Case]:
    listed = _OF_EXPERTS if model in EXPERTS else _OF_FILMS
    asked = [cache for cache in listed if cache in caches]
    if 1 in devices:
        yield from (Case(Ask(model, cache=cache)) for cache in asked)
        if model in EXPERTS:
            yield Case(Ask(model, "expert", "none"))
        yield Case(Ask(model, "decode", "none"))
    if 8 in devices:
        for cache in asked[:2]:
            yield Case(Ask(model, cache=cache, rules="branches"), devices=8)


def _spread(model: str, count: int, cache: str) -> Iterator[Case]:
    if model not in ROBOTS:
        yield Case(Ask(model, cache=cache, rows=count, rules="data"), devices=count)
        if model != "tabletop" or count == 2:  # Three heads: no mesh divides them.
            yield Case(Ask(model, cache=cache, rules="tensor"), devices=count)
        if count == 2:
            yield Case(Ask(model, cache=cache, rules="branches"), devices=count)
            each = Ask(model, cache=cache, decide="sample", rows=2, rules="data")
            yield Case(each, devices=count)
            slots = Ask(model, "slots", cache, rows=2, rules="data")
            yield Case(slots, devices=count)
        return
    if model == "wan22-5b" and count == 4:
        return
    for rules in ("branches", "tensor"):
        yield Case(Ask(model, "observe", "none", rules=rules), devices=count)
        yield Case(Ask(model, cache=cache, rules=rules), devices=count)
    if count == 2:
        slots = Ask(model, "slots", cache, rows=2, rules="branches")
        yield Case(slots, devices=count)

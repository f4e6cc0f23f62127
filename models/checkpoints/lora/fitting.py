"""Which weights a LoRA file changes, and whether it is made for this model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.errors import warn

from .file import Change, LoraFile
from .keys import is_of_text

_WEIGHT, _BIAS = ".weight", ".bias"
_SHOWN = 6


class Place(NamedTuple):
    """A tensor of a checkpoint among a model's weights.

    Attributes:
        weight: the weight's name, with dots.
        source: which of the tensors that it is made of.
        recipe: how it is made of them.
    """

    weight: str
    source: int
    recipe: Recipe


class Fitted(NamedTuple):
    """A change whose weights are found.

    Attributes:
        target: its name in the file.
        weight: where the factors, and what is added as it is, go: to several places
            where one tensor holds several weights; to none without them.
        bias: where what is added to the bias goes, likewise.
    """

    target: str
    weight: tuple[Place, ...]
    bias: tuple[Place, ...]


def fit(
    lora: LoraFile, plans: Iterable[Mapping[str, Recipe]], *, strict: bool = True
) -> list[Fitted]:
    """Finds what a file changes; reads no numbers.

    Args:
        lora: the file.
        plans: how tensors become the model's weights, once for each way of naming them.
        strict: whether what the model has not is an error; otherwise it is passed over,
            with a warning, as what is of a pipeline's text encoders always is.

    Returns:
        The changes, in the file's order.

    Raises:
        ValueError: if the file is for a model of another size or kind, with what
            differs.
    """
    plans = [dict(plan) for plan in plans]
    places: dict[str, list[Place]] = {}
    for plan in plans:
        own: dict[str, list[Place]] = {}
        for weight, recipe in plan.items():
            for i, source in enumerate(recipe.sources):
                own.setdefault(source, []).append(Place(weight, i, recipe))
        places |= own
    shapes = {
        source: recipe.source_shape
        for plan in plans
        for recipe in plan.values()
        for source in recipe.sources
    }
    # Kohya's keys have underscores for dots.
    modules = {source.removesuffix(_WEIGHT).removesuffix(_BIAS) for source in places}
    plain = {module.replace(".", "_"): module for module in modules}
    found, unknown, misfits = [], [], []
    for target, change in lora.changes.items():
        module = target if target in modules else plain.get(target)
        if module is None:
            unknown.append(target)
            continue
        weight = module if module in places else module + _WEIGHT
        faults = list(_misfits(change, weight, module + _BIAS, shapes))
        misfits += [f"{target}{fault}" for fault in faults]
        if not faults:
            parts = change.headers.keys()
            wants = bool(parts & {"down", "diff"})
            biased = bool(parts & {"diff_b", "up_bias"})
            found.append(
                Fitted(
                    target,
                    tuple(places[weight]) if wants else (),
                    tuple(places[module + _BIAS]) if biased else (),
                )
            )
    if misfits:
        raise ValueError(
            f"{lora.path} is made for a model of another size, "
            f"{len(misfits)} of {len(lora.changes)} changes do not fit: "
            f"{_some(misfits)}"
        )
    beside = [target for target in unknown if is_of_text(target)]
    odd = [target for target in unknown if not is_of_text(target)] if found else unknown
    if odd and (strict or not found):
        raise ValueError(
            f"{lora.path} changes {len(odd)} of {len(lora.changes)} parts that "
            f"this model has not: {_some(odd)}"
            + (". merge_lora(..., strict=False) passes over them" if found else "")
        )
    if beside:
        warn(
            f"{lora.path}: only the transformer is changed; passed over, for they are "
            f"of the text encoders: {_some(beside)}"
        )
    if odd:
        warn(f"{lora.path}: passed over, for the model has none: {_some(odd)}")
    return found


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _misfits(
    change: Change,
    weight: str,
    bias: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterable[str]:
    """What of a change has other shapes than the model."""
    given = {kind: header.shape for kind, header in change.headers.items()}
    if given.keys() & {"down", "diff"}:
        wanted = shapes.get(weight)
        if "diff" in given and given["diff"] != wanted:
            yield f" adds {_shape(given['diff'])}, the model has {_shape(wanted)}"
        if "down" in given:
            made = (given["up"][0], *given["down"][1:])
            if made != wanted:
                yield f" changes {_shape(made)}, the model has {_shape(wanted)}"
    for kind in given.keys() & {"diff_b", "up_bias"}:
        if given[kind] != shapes.get(bias):
            there = _shape(shapes.get(bias))
            yield f" adds a bias of {_shape(given[kind])}, the model has {there}"


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " x ".join(map(str, shape))

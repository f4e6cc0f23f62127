"""``jax-stepcache info``: what a model takes in memory and arithmetic."""

from __future__ import annotations

import argparse
import math
from typing import Any

import jax

from jax_stepcache.check import check_count
from jax_stepcache.cli.gpus import fits
from jax_stepcache.cli.holding import held
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.meshes.presets import LOGICAL_AXES, shape_for
from jax_stepcache.network.offered import offered
from jax_stepcache.network.registry import load_model

_PREFIXES = ["", "k", "M", "G", "T", "P"]


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    layout = _layout(parsed)
    model = load_model(parsed.source, part=parsed.part)
    found = None
    if parsed.gpu:
        offload = tuple(parsed.offload or ())
        found = held(model, parsed.rows, parsed.devices, layout, offload)
    describe = offered(model, "describe")
    rows = _counts(model) if describe is None else describe(model)
    numbers = [quantity(number, unit) for _, number, unit in rows]
    widths = max(map(len, numbers)), max(len(name) for name, *_ in rows)
    print(f"{parsed.source}: {model.name}")
    for (name, *_), number in zip(rows, numbers, strict=True):
        print(f"  {name:<{widths[1]}}  {number:>{widths[0]}}")
    if found is not None:
        sampling = f", sampling {parsed.rows}" if hasattr(model, "denoise") else ""
        usual = getattr(getattr(model, "defaults", None), "guidance_scale", 1)
        if sampling and usual != 1:
            sampling += " with guidance"
        print(f"memory of a GPU{sampling}{_cut(parsed)}:")
        print(*fits(found.parts, parsed.gpu, parsed.devices, found.most), sep="\n")


def _layout(parsed: argparse.Namespace) -> Layout | None:
    """By what rules weights are cut; looked at before anything is printed."""
    check_count("--devices", parsed.devices, 1)
    check_count("--rows", parsed.rows, 1)
    if parsed.devices != 1 and not parsed.gpu:
        raise ValueError("--devices are GPUs whose memory is looked at: name --gpu")
    if parsed.rows != 1 and not parsed.gpu:
        raise ValueError("--rows are of the memory of GPUs: name one with --gpu")
    if parsed.offload and not parsed.gpu:
        raise ValueError("--offload is of the memory of GPUs: name one with --gpu")
    if parsed.rules and not parsed.gpu:
        raise ValueError("--rules are of the memory of GPUs: name one with --gpu")
    if not parsed.rules or parsed.devices == 1:
        return None
    mesh = shape_for(parsed.rules, parsed.devices)
    return Layout(mesh, parsed.rules, names=LOGICAL_AXES)


def quantity(number: int, unit: str) -> str:
    """A number as people read it.

    Args:
        number: how many.
        unit: of what; ``""`` for things that are counted, of which every digit is told.

    Returns:
        Such as ``"1,317"`` or ``"33.0 GB"``.
    """
    if not unit:
        return f"{number:,}"
    power = min(len(_PREFIXES) - 1, max(0, int(math.log10(max(number, 1)) // 3)))
    return f"{number / 1000**power:.1f} {_PREFIXES[power]}{unit}"


def _cut(parsed: argparse.Namespace) -> str:
    """How weights are taken to lie, in words."""
    if parsed.devices == 1:
        return ""
    if parsed.rules:
        shape = dict(shape_for(parsed.rules, parsed.devices).shape)
        return f", rules={parsed.rules!r} on a mesh of {shape}"
    return ", each array cut along its longest axis (mesh= without rules=; see --rules)"


def _counts(model: Any) -> list[tuple[str, int, str]]:
    """What can be said of any model."""
    weights_struct = offered(model, "weights_struct")
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(weights_struct(model))]
    return [("parameters", sum(sizes), ""), ("arrays", len(sizes), "")]

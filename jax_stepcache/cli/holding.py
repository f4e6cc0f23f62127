"""What the devices of a pipeline hold: the sampled network, and those around it."""

from __future__ import annotations

from typing import Any, NamedTuple

from jax_stepcache.checkpoints.placement import device_bytes
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.around import SAMPLED, Around
from jax_stepcache.network.offered import in_dtype, offered, placed_by_name
from jax_stepcache.network.registry import load_model


class Held(NamedTuple):
    """Bytes on each device.

    Attributes:
        parts: by what they are for.
        most: that are there at a time.
    """

    parts: dict[str, int]
    most: int


def held(
    model: Any,
    rows: int,
    devices: int,
    layout: Layout | None,
    offload: tuple[str, ...] = (),
) -> Held:
    """Counts what a pipeline holds, from shapes alone.

    Args:
        model: the model, or a network by itself. All weights are counted in the dtype
            of its activations.
        rows: samples side by side.
        devices: how many there are.
        layout: how rules cut weights over these, or None.
        offload: what waits on the host.

    Returns:
        The bytes.

    Raises:
        ValueError: for parts that cannot wait, or rules that do not fit.
    """
    around: Around = Around(model, {})
    offer = offered(model, "networks_around")
    if offer is not None:
        around = offer(model, offload)
    elif offload:
        raise ValueError(
            f"offload is {list(offload)}; of {model.name} nothing that could wait is "
            "counted: it is the sampled network alone"
        )
    parts = _memory(around.model, rows, devices, layout)
    dtype = getattr(getattr(model, "transformer", None), "dtype", None)
    beside = {
        part: _memory(in_dtype(load_model(name), dtype), rows, devices, layout)[
            "weights"
        ]
        for part, name in around.networks.items()
    }
    waits = {part: size for part, size in beside.items() if part in around.waiting}
    step, stays = dict(parts), sum(beside.values()) - sum(waits.values())
    if SAMPLED not in around.waiting:
        stays += step.pop("weights")
    most = stays + max([sum(step.values()), *waits.values()])
    named = {
        part + (", while it runs" if part in waits else ""): size
        for part, size in beside.items()
    }
    return Held({**parts, **named}, most)


def _memory(
    model: Any, rows: int, devices: int, layout: Layout | None
) -> dict[str, int]:
    """Bytes on each device by what they are for, those of weights if nothing else."""
    told = offered(model, "memory")
    if told is not None:
        return told(model, rows, devices, layout)
    struct = offered(model, "weights_struct")(model)
    if layout is None:
        return {"weights": device_bytes(struct, devices, None)}
    layout.check("the samples", "batch", rows)
    return {"weights": device_bytes(struct, devices, placed_by_name(model, layout))}

"""``jax-stepcache finetune``: train a model further on sequences of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from jax_stepcache.cli.devices import first_devices
from jax_stepcache.cli.parser import NUMBERS
from jax_stepcache.network.offered import offered
from jax_stepcache.network.registry import load_params, save_params


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    mesh = _mesh(parsed.devices)
    params = load_params(parsed.params, layers="stacked", mesh=mesh)
    train = offered(params.model, "finetune")
    settings_type = offered(params.model, "FinetuneSettings")
    if train is None or settings_type is None:
        raise ValueError(f"{params.model.name} cannot be fine-tuned from here")
    names = [name.replace("-", "_") for name, _, _ in NUMBERS]
    given = {name: getattr(parsed, name) for name in names}
    if parsed.full:
        given["lora"] = 0
    elif parsed.lora is not None:
        given["lora"] = parsed.lora
    settings = settings_type(
        **{name: value for name, value in given.items() if value is not None}
    )
    path = parsed.out / "params"
    if path.exists():
        raise ValueError(
            f"{path} exists: this run is finished; give another --out, and --params "
            f"{path} to train further"
        )
    print(params)
    try:
        trained = train(
            params,
            parsed.data,
            parsed.out,
            settings,
            mesh=mesh,
            resume=parsed.resume,
        )
    except FloatingPointError as error:
        _keep(error, parsed.out)
        raise
    save_params(path, trained)
    print(f"trained weights: {path}")


def _mesh(count: int | None) -> Mesh | None:
    """The first devices, as a mesh to train on; None for one."""
    if count is None:
        return None
    types, devices = (AxisType.Auto,), first_devices(count)
    return jax.make_mesh((count,), ("fsdp",), axis_types=types, devices=devices)


def _keep(error: Any, out: Path) -> None:
    """Saves the last good weights of a run that stopped by itself."""
    step, params = getattr(error, "step", 0), getattr(error, "params", None)
    path = out / f"params-step-{step}"
    # Resumed, it stops at the same step with the same weights.
    if step and params is not None and not path.exists():
        save_params(path, params)
        print(f"weights of step {step}: {path}")

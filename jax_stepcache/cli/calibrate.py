"""``jax-stepcache calibrate``: which setting of a cache meets a target."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax

from jax_stepcache.calibration import calibrate
from jax_stepcache.calibration.thresholds import SWEPT
from jax_stepcache.cli.options import add_params_option, json_object
from jax_stepcache.network.registry import load_params


def add_parser(commands: Any) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "calibrate",
        help="find the setting of a cache that meets a target",
        description=__doc__,
    )
    add_params_option(parser)
    parser.add_argument(
        "--cache",
        default="tuned",
        help=f"what to calibrate: tuned (schedule and forecasts), {', '.join(SWEPT)} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--cache-config",
        type=json_object,
        metavar="JSON",
        help="the backend's other settings",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--calls", type=float, help="model calls it may make, in the mean"
    )
    target.add_argument("--psnr", type=float, help="dB it must reach")
    parser.add_argument("--samples", type=int, default=8, help="samples to measure on")
    parser.add_argument("--steps", type=int, help="solver steps")
    parser.add_argument("--guidance-scale", type=float, help="guidance scale")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    target = (
        {"psnr": parsed.psnr} if parsed.calls is None else {"model_calls": parsed.calls}
    )
    given = {
        "num_inference_steps": parsed.steps,
        "guidance_scale": parsed.guidance_scale,
    }
    found = calibrate(
        load_params(parsed.params),
        samples=parsed.samples,
        target=target,
        cache=parsed.cache,
        cache_config=parsed.cache_config,
        key=jax.random.key(parsed.seed),
        **{name: value for name, value in given.items() if value is not None},
    )
    print(found)
    if parsed.json:
        found.save(parsed.json)

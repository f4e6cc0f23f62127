"""Options that the commands share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from jax_stepcache.checkpoints.precision import DTYPES
from jax_stepcache.paths import path_option

CACHE = "step_cache"


def add_params_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says which weights."""
    parser.add_argument(
        "--params",
        default="tabletop",
        metavar="NAME|PATH",
        help="bundled model or weights file (default: %(default)s)",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `sampling_options` reads."""
    add_params_option(parser)
    parser.add_argument(
        "--cache",
        default=CACHE,
        help="cache backend: step_cache, tea_cache, cache_dit, db_prune, mag_cache, "
        "sea_cache, first_block_cache, taylor_seer, easy_cache, di_cache, hi_cache, "
        "sen_cache, cfg_cache, static, tuned, bespoke or none (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-config",
        type=json_object,
        metavar="JSON",
        help="the backend's settings, e.g. "
        """'{"velocity_sim_thresholds": [0.98], "velocity_skip_countdowns": [3]}'""",
    )
    parser.add_argument(
        "--budget", type=int, help="model calls for --cache tuned or bespoke"
    )
    parser.add_argument(
        "--forecast",
        type=json_or_name,
        metavar="NAME|JSON",
        help="hold, linear, damped, linear_x0, taylor, newton, hermite, foca, dmd, "
        "offset, aligned, or one for each output: "
        """'{"video": "linear", "action": "hold"}'""",
    )
    add_steps(parser)
    parser.add_argument("--solver", help="unipc, euler, dpm++_2m, ...")
    parser.add_argument("--shift", type=float, help="timestep shift")
    parser.add_argument(
        "--schedule",
        metavar="NAME",
        help="linear, karras, exponential, beta, ays_sdxl, ... in place of --shift; or "
        "optimised, the model's own noise levels of --steps",
    )
    parser.add_argument("--guidance-scale", type=float, help="guidance scale")
    parser.add_argument("--seed", type=seed, default=0, help="seed of world and noise")
    parser.add_argument(
        "--out",
        type=path_option,
        default="out",
        help="folder for pictures (default: %(default)s)",
    )


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Adds the number of steps, by its short name and by that of `sample`."""
    parser.add_argument(
        "--steps",
        "--num-inference-steps",
        type=int,
        metavar="STEPS",
        help="solver steps",
    )


def add_guidance_interval(parser: argparse.ArgumentParser) -> None:
    """Adds the noise levels between which there is guidance."""
    parser.add_argument(
        "--guidance-interval",
        type=float,
        nargs=2,
        metavar=("LO", "HI"),
        help="noise levels between which there is guidance",
    )


def cache_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """The cache's part of the options of `jax_stepcache.sample`."""
    given = {
        "cache_config": parsed.cache_config,
        "budget": parsed.budget,
        "forecast": parsed.forecast,
    }
    return {name: value for name, value in given.items() if value is not None}


def solver_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """The rest of them, which hold with or without a cache."""
    given = {
        "num_inference_steps": parsed.steps,
        "solver": parsed.solver,
        # Not every command has these two.
        "shift": getattr(parsed, "shift", None),
        "schedule": getattr(parsed, "schedule", None),
        "guidance_scale": parsed.guidance_scale,
    }
    return {name: value for name, value in given.items() if value is not None}


def given_options(parsed: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of some options that were given, by name."""
    found = {name: getattr(parsed, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def add_making_options(parser: argparse.ArgumentParser) -> None:
    """Adds what commands share that make something of words."""
    parser.add_argument("--height", type=int, help="rows, with --width")
    parser.add_argument("--width", type=int, help="columns, with --height")
    add_steps(parser)
    parser.add_argument("--seed", type=seed, default=0, help="seed of the noise")
    parser.add_argument(
        "--budget", type=int, help="model calls for --cache tuned or bespoke"
    )
    parser.add_argument(
        "--forecast",
        type=json_or_name,
        metavar="NAME|JSON",
        help="hold, linear, damped, taylor, ...",
    )
    parser.add_argument("--lora-scale", type=float, help="how much of it")
    parser.add_argument("--dtype", choices=DTYPES, help="of weights and activations")


def seed(text: str) -> int:
    """Reads an option that is a seed; of more than 31 bits JAX takes the last ones."""
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**31 - 1}")
    return number


def json_object(text: str) -> dict[str, Any]:
    """Reads an option that is a JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text}")
    return value


def json_or_name(text: str) -> Any:
    """Reads an option that is a JSON object, or a word."""
    return json_object(text) if text.lstrip().startswith("{") else text

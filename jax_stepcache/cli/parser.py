"""The commands and their options.

Without JAX, and so without the modules that run the commands: help and mistakes are
answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from jax_stepcache import __version__
from jax_stepcache.checkpoints.precision import DTYPES
from jax_stepcache.cli.film_options import add_film
from jax_stepcache.cli.gpus import MEMORY, RULES
from jax_stepcache.cli.options import (
    add_guidance_interval,
    add_params_option,
    add_sampling_options,
    add_steps,
    json_object,
    seed,
)
from jax_stepcache.cli.picture_options import add_picture
from jax_stepcache.cli.serve_options import add_serve
from jax_stepcache.errors import nearest
from jax_stepcache.paths import path_option

# Of `finetune`: what its settings call it, with dashes; its type; its help.
NUMBERS = (
    ("steps", int, "optimiser steps"),
    ("batch", int, "sequences a step"),
    ("accumulate", int, "parts that a batch is split into, to save memory"),
    ("learning-rate", float, "AdamW's peak"),
    ("warmup", float, "share of the steps in which the rate rises"),
    ("weight-decay", float, "AdamW's"),
    ("decay", float, "of the averaged weights"),
    ("alpha", float, "scale of the adapters, times their rank"),
    ("dropout", float, "share of sequences without a prompt"),
    ("shift", float, "timestep shift of the noise levels"),
    ("decoupled", float, "share of sequences whose actions have their own noise"),
    ("seed", seed, "seed of order, noise and adapters"),
)
# Those that `calibrate` sweeps a threshold of. Their ranges are arrays, and elsewhere.
THRESHOLDS = (
    "tea_cache",
    "cache_dit",
    "first_block_cache",
    "mag_cache",
    "sea_cache",
    "easy_cache",
    "di_cache",
    "sen_cache",
    "step_cache",
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; ends the process where it asks for help or is wrong.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The options, and under ``command`` which module of this package runs them.
    """
    parser = argparse.ArgumentParser(
        prog="jax-stepcache",
        description="``jax-stepcache``: sample a model, or let it act, and see what "
        "caching did.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_sample(commands)
    _add_rollout(commands)
    _add_calibrate(commands)
    _add_convert(commands)
    _add_info(commands)
    _add_finetune(commands)
    add_film(commands)
    add_picture(commands)
    add_serve(commands)
    try:
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            options = [f"--{name.replace('_', '-')}" for name in vars(parsed)]
            hint = nearest(unknown[0].partition("=")[0], options)
            commands.choices[parsed.command].error(
                f"unrecognized arguments: {' '.join(unknown)}{hint and f'.{hint}'}"
            )
        return parsed
    except argparse.ArgumentError as error:
        # No option before the command has a value, so the first word is the command.
        word = next((word for word in arguments if not word.startswith("-")), "")
        known = word in commands.choices
        hint = "" if known else nearest(word, commands.choices)
        parser.error(f"{error}{hint and f'.{hint}'}")


def _add_sample(commands: Any) -> None:
    parser = commands.add_parser(
        "sample",
        help="predict video and actions, and say which steps ran the network",
        description="``jax-stepcache sample``: predict once, and compare.",
    )
    add_sampling_options(parser)
    add_guidance_interval(parser)
    parser.add_argument("--batch", type=int, default=1, help="scenes at once")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="beside it: uncached, the tuned schedule, and plain fewer steps",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="steps cached and quantiles of the signal (without --compare)",
    )
    parser.add_argument("--progress", action="store_true", help="show a bar")


def _add_rollout(commands: Any) -> None:
    parser = commands.add_parser(
        "rollout",
        help="closed-loop success rates of cache, tuned schedule and fewer steps",
        description="``jax-stepcache rollout``: closed-loop episodes with and without "
        "the cache.",
    )
    add_sampling_options(parser)
    parser.add_argument(
        "--episodes", type=int, default=128, help="paired episodes of each row"
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="ws://host:port of a policy server that acts, by openpi's client",
    )


def _add_calibrate(commands: Any) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="find the setting of a cache that meets a target",
        description="``jax-stepcache calibrate``: which setting of a cache meets a "
        "target.",
    )
    add_params_option(parser)
    parser.add_argument(
        "--cache",
        default="tuned",
        help="what to calibrate: tuned (schedule and forecasts), bespoke (a table), "
        "none (noise levels of plain steps), "
        f"{', '.join(THRESHOLDS)} (default: %(default)s)",
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
    parser.add_argument(
        "--samples", type=int, help="samples to measure on (default: 8, of tables 256)"
    )
    add_steps(parser)
    parser.add_argument("--guidance-scale", type=float, help="guidance scale")
    parser.add_argument("--seed", type=seed, default=0, help="seed of the samples")
    parser.add_argument(
        "--json", type=path_option, help="where to write what was found"
    )


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert",
        help="a released checkpoint to a folder that loads faster, part by part",
        description="``jax-stepcache convert``: a released checkpoint to the library's "
        "own format. Interrupted, it goes on when called again.",
    )
    parser.add_argument(
        "source",
        metavar="SRC",
        help="folder of safetensors files, their index and config.json; or one file",
    )
    parser.add_argument(
        "target", metavar="DST", type=path_option, help="folder to be made"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="cast to it (default: as the checkpoint is)"
    )
    _add_part(parser)


def _add_part(parser: Any) -> None:
    parser.add_argument(
        "--part",
        metavar="NAME",
        help="of several networks in a checkpoint one beside that which is sampled: "
        "text_encoder, image_encoder or vae; or one of two transformers",
    )


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="parameters, bytes, KV cache and FLOPs of a model or checkpoint",
        description="``jax-stepcache info``: what a model takes in memory and "
        "arithmetic. No weights are read.",
    )
    parser.add_argument(
        "source",
        metavar="NAME|PATH",
        help="tabletop, dit, film, droid-14b, wan2.1-t2v-14b, sit-xl/2, umt5-xxl, ..., "
        "or a checkpoint",
    )
    _add_part(parser)
    parser.add_argument(
        "--gpu", choices=sorted(MEMORY), help="whether sampling fits such a GPU"
    )
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help="GPUs (default: 1)"
    )
    parser.add_argument(
        "--rules",
        choices=RULES,
        help="how weights and sessions are cut over several, as rules= says (default: "
        "as mesh= without rules=)",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1,
        metavar="N",
        help="samples or robots side by side (default: 1)",
    )
    parser.add_argument(
        "--offload",
        action="append",
        metavar="NAME",
        help="what waits on the host, as of film and picture",
    )


def _add_finetune(commands: Any) -> None:
    parser = commands.add_parser(
        "finetune",
        help="train a model further on your own sequences, by LoRA or in full",
        description="``jax-stepcache finetune``: train a model further on sequences of "
        "one's own. Without --full, LoRA of rank 4.",
    )
    parser.add_argument(
        "--params", default="tabletop", metavar="NAME|PATH", help="where to begin"
    )
    parser.add_argument(
        "--data",
        type=path_option,
        required=True,
        help="folder of .npy files; see docs/finetuning.md",
    )
    parser.add_argument(
        "--out",
        type=path_option,
        required=True,
        help="folder of the run and its result",
    )
    parser.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="train on the first N devices together: each has a part of the weights "
        "and rows of the batch (default: on one)",
    )
    rank = parser.add_mutually_exclusive_group()
    rank.add_argument(
        "--lora", type=int, metavar="RANK", help="adapters of this rank (default: 4)"
    )
    rank.add_argument("--full", action="store_true", help="train all weights")
    for name, kind, text in NUMBERS:
        parser.add_argument(f"--{name}", type=kind, help=text)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint; there is one every 100 steps",
    )

"""``jax-stepcache finetune``: train a model further on sequences of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jax_stepcache.network.registry import load_params, offered, save_params


def add_parser(commands: Any) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "finetune",
        help="train a model further on your own sequences, by LoRA or in full",
        description=f"{__doc__} Without --full, LoRA of rank 4.",
    )
    parser.add_argument(
        "--params", default="tabletop", metavar="NAME|PATH", help="where to begin"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of .npy files; see the README"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run and its result"
    )
    rank = parser.add_mutually_exclusive_group()
    rank.add_argument(
        "--lora", type=int, metavar="RANK", help="adapters of this rank (default: 4)"
    )
    rank.add_argument("--full", action="store_true", help="train all weights")
    for name, kind, text in _NUMBERS:
        parser.add_argument(f"--{name}", type=kind, help=text)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint; there is one every 100 steps",
    )
    parser.set_defaults(run=run)


_NUMBERS = (
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
    ("seed", int, "seed of order, noise and adapters"),
)


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    params = load_params(parsed.params)
    train = offered(params.model, "finetune")
    settings_type = offered(params.model, "FinetuneSettings")
    if train is None or settings_type is None:
        raise ValueError(f"{params.model.name} cannot be fine-tuned from here")
    names = [name.replace("-", "_") for name, _, _ in _NUMBERS]
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
    trained = train(
        params,
        parsed.data,
        parsed.out,
        settings,
        resume=parsed.resume,
    )
    save_params(path, trained)
    print(f"trained weights: {path}")

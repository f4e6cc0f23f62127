"""Folders of released models, that commands make something of words with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jax_stepcache.cli.options import given_options
from jax_stepcache.network.configurations import CONFIGURATIONS
from jax_stepcache.network.registry import load_model
from jax_stepcache.paths import as_path


def model_of_folder(folder: str, transformer: Path | None = None) -> Any:
    """The model of a folder, or of a bundled model by its name.

    Args:
        folder: as ``--params`` has it.
        transformer: what its transformer is instead, if anything.

    Returns:
        The model, without weights.

    Raises:
        ValueError: for a name that is of sizes alone; as `load_model`.
        FileNotFoundError: as `load_model`.
    """
    _check_weights(folder)
    if transformer is None:
        return load_model(folder)
    _check_weights(transformer)
    return load_model(transformer)


def _check_weights(given: str | Path) -> None:
    if str(given) in CONFIGURATIONS and not as_path(given).exists():
        raise ValueError(
            f"{str(given)!r} is the name of sizes without weights, for info. Nothing "
            "is downloaded: download the released folder, and give its path"
        )


def loading_options(
    parsed: argparse.Namespace, names: tuple[str, ...]
) -> dict[str, Any]:
    """Those of the options of loading that were given, by name.

    Args:
        parsed: the command line, with ``lora`` and ``lora_scale``.
        names: of the options.

    Returns:
        The options.

    Raises:
        ValueError: for a scale of no LoRA.
    """
    if parsed.lora_scale is not None and not parsed.lora:
        raise ValueError(
            f"--lora-scale {parsed.lora_scale} is how much of a LoRA is merged: name "
            "its file with --lora"
        )
    return given_options(parsed, names)

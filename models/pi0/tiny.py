"""A tiny pi0 with random weights, whole, in the layout of openpi's folders.

``python -m jax_stepcache.models.pi0.tiny FOLDER`` writes one; it needs
``sentencepiece``. What it does is noise; how it does it is what the released models do.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from jax_stepcache.paths import as_path, path_option

from ..tiny.command import print_or_exit
from ..tiny.tensors import new_folder, write_json
from .checkpoint.name_map import plan
from .checkpoint.released import ASSETS, PARAMS, SETTINGS
from .network.config import GemmaConfig, Pi0Config, VisionConfig
from .robot.robots import Robot, get_robot
from .robot.statistics import FILE
from .robot.words import NAME

_SAID = (
    "pick up the red block and put it into the box",
    "open the drawer, then close it again",
    "Task: wipe the table, State: 0 1 2 3 4 5 6 7 8 9;\nAction: ",
)


def config_of_tiny(pi05: bool) -> Pi0Config:
    """Sizes of a pi0 that runs in milliseconds."""
    return Pi0Config(
        pi05=pi05,
        vision=VisionConfig(width=16, depth=2, mlp_dim=24, num_heads=2, patch_size=14),
        gemma=GemmaConfig(
            width=32, depth=2, mlp_dim=48, num_heads=2, num_kv_heads=1, head_dim=16
        ),
        expert=GemmaConfig(
            width=24, depth=2, mlp_dim=40, num_heads=2, num_kv_heads=1, head_dim=16
        ),
        vocab=384,
        image_size=56,
        action_dim=12,
        action_horizon=6,
        max_token_len=96 if pi05 else 24,
    )


def write_tiny(
    folder: str | os.PathLike[str],
    *,
    pi05: bool = False,
    robot: str | Robot = "droid",
    seed: int = 0,
) -> Path:
    """Writes one.

    Args:
        folder: a folder to be made.
        pi05: whether it is of pi0.5's kind.
        robot: that it has statistics of.
        seed: draws the weights.

    Returns:
        The folder.

    Raises:
        FileExistsError: if there is something already.
        ImportError: without sentencepiece.
    """
    config, robot = config_of_tiny(pi05), get_robot(robot)
    target = as_path(folder)
    with new_folder(target) as made:
        tree = _nested(_arrays(config, np.random.default_rng(seed)))
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save((made / PARAMS).resolve(), {PARAMS: tree})
        write_json(
            made / SETTINGS,
            {
                "action_horizon": config.action_horizon,
                "max_token_len": config.max_token_len,
                "image_size": config.image_size,
            },
        )
        place = made / ASSETS / robot.name
        place.mkdir(parents=True)
        write_json(place / FILE, {"norm_stats": _statistics(robot)})
        (made / NAME).write_bytes(_tokenizer(config.vocab))
    return target


def _arrays(config: Pi0Config, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        one.sources[0]: rng.normal(
            0, 0.6 / max(1, np.prod(one.source_shape[-2:-1])) ** 0.5, one.source_shape
        ).astype(np.float32)
        for one in plan(config).values()
    }


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split("/")
        inside = tree
        for part in path:
            inside = inside.setdefault(part, {})
        inside[last] = array
    return tree


def _statistics(robot: Robot) -> dict[str, Any]:
    def of(width: int) -> dict[str, list[float]]:
        ramp = np.linspace(0.5, 1.5, width)
        said = {"mean": ramp - 1, "std": ramp, "q01": -ramp, "q99": ramp + 0.25}
        return {name: x.tolist() for name, x in said.items()}

    return {"state": of(robot.state_width), "actions": of(robot.actions)}


def _tokenizer(vocabulary: int) -> bytes:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "a tiny model needs sentencepiece: pip install 'jax-stepcache[prompts]'"
        ) from error

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SAID),
        model_writer=written,
        vocab_size=vocabulary,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return written.getvalue()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=path_option)
    parser.add_argument("--pi05", action="store_true", help="of pi0.5's kind")
    parsed = parser.parse_args()
    print_or_exit(parser, lambda: write_tiny(parsed.folder, pi05=parsed.pi05))


if __name__ == "__main__":
    main()

"""``jax-stepcache picture``: words, or a picture and words, to pictures on disk."""

from __future__ import annotations

import argparse
import importlib.util

from jax_stepcache.cli.folders import loading_options, model_of_folder
from jax_stepcache.cli.made import tell
from jax_stepcache.cli.options import cache_options, given_options, solver_options
from jax_stepcache.network.offered import offered

# Options of the command that a picture is asked with by the same name.
_ASKED = (
    "prompt_2",
    "negative_prompt",
    "true_cfg_scale",
    "image",
    "strength",
    "height",
    "width",
    "num_images",
    "slots",
    "seed",
)
_LOADING = ("transformer", "lora", "lora_scale", "dtype", "offload")


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    model = model_of_folder(parsed.params, parsed.transformer)
    make = offered(model, "make_pictures")
    if make is None:
        raise ValueError(
            f"{parsed.params} holds a {model.name}, which makes no pictures of words; "
            "give a folder of FLUX's"
        )
    if parsed.negative_prompt is not None and parsed.true_cfg_scale is None:
        raise ValueError(
            "--negative-prompt says what is led away from, and not how far: give "
            "--true-cfg-scale, above 1"
        )
    if parsed.strength is not None and parsed.image is None:
        raise ValueError("--strength is how much of a picture is changed: give --image")
    options = {**solver_options(parsed), **cache_options(parsed)}
    options |= given_options(parsed, _ASKED)
    bar = importlib.util.find_spec("tqdm") is not None and parsed.slots is None
    pictures = make(
        parsed.params,
        parsed.prompt,
        parsed.out,
        loading=loading_options(parsed, _LOADING),
        cache=parsed.cache,
        progress=bar,
        **options,
    )
    tell(pictures, "pictures", parsed.cache, parsed.slots)

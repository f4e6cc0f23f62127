"""``jax-stepcache film``: words, and pictures, to films on disk."""

from __future__ import annotations

import argparse
import importlib.util

from jax_stepcache.cli.devices import mesh_for
from jax_stepcache.cli.folders import loading_options, model_of_folder
from jax_stepcache.cli.made import tell
from jax_stepcache.cli.options import cache_options, given_options, solver_options
from jax_stepcache.network.offered import offered

# Options of the command that a film is asked with by the same name.
_ASKED = (
    "negative_prompt",
    "image",
    "last_image",
    "video",
    "strength",
    "height",
    "width",
    "num_frames",
    "fit",
    "slots",
    "guidance_scale_2",
    "guidance_interval",
    "sigmas",
    "seed",
)
_LOADING = ("tokenizer", "lora_scale", "dtype")


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    model = model_of_folder(parsed.params)
    make = offered(model, "make_films")
    if make is None:
        raise ValueError(
            f"{parsed.params} holds a {model.name}, which makes no film of words; give "
            "a folder of Wan's"
        )
    options = {**solver_options(parsed), **cache_options(parsed)}
    options |= given_options(parsed, _ASKED)
    loading = loading_options(parsed, _LOADING)
    if parsed.lora:
        loading["lora"] = _files(parsed.lora)
    if parsed.offload:
        loading["offload"] = parsed.offload
    if parsed.devices is not None:
        loading["mesh"] = mesh_for(parsed.devices, parsed.rules)
        loading["rules"] = parsed.rules
    elif parsed.rules is not None:
        raise ValueError(f"--rules {parsed.rules} cuts over --devices, of which none")
    bar = importlib.util.find_spec("tqdm") is not None and parsed.slots is None
    several = len(parsed.prompt) > 1
    films = make(
        parsed.params,
        parsed.prompt if several else parsed.prompt[0],
        parsed.out,
        loading=loading,
        fps=parsed.fps,
        cache=parsed.cache,
        progress=bar,
        **options,
    )
    tell(films, "films" if several else "film", parsed.cache, parsed.slots)


def _files(given: list[str]) -> str | dict[str, str]:
    """One file, or ``high=FILE`` and ``low=FILE``."""
    named = [text.split("=", 1) for text in given if text.startswith(("high=", "low="))]
    if named and len(named) == len(given):
        return dict(named)
    if len(given) > 1:
        raise ValueError(
            "--lora takes one file, or high=FILE and low=FILE for the experts; got "
            + " ".join(given)
        )
    return given[0]

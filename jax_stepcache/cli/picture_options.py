"""Options of ``jax-stepcache picture``; without JAX, as `parser`."""

from __future__ import annotations

from typing import Any

from jax_stepcache.cli.options import add_making_options, json_object
from jax_stepcache.paths import path_option


def add_picture(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "picture",
        help="pictures of words, by FLUX",
        description="``jax-stepcache picture``: pictures of words. What is not said is "
        "as the model was released.",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what is to be seen")
    parser.add_argument(
        "--params",
        required=True,
        metavar="FOLDER",
        help="folder of a FLUX, as diffusers has it",
    )
    parser.add_argument(
        "--out",
        type=path_option,
        default="picture.png",
        help="the picture; of several, with numbers before the ending "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--prompt-2", metavar="PROMPT", help="other words for T5, the longer encoder"
    )
    parser.add_argument("--negative-prompt", help="what true guidance leads away from")
    parser.add_argument(
        "--true-cfg-scale", type=float, help="how far, with --negative-prompt"
    )
    parser.add_argument("--image", type=path_option, help="picture that is changed")
    parser.add_argument(
        "--strength", type=float, help="share of the steps, with --image"
    )
    parser.add_argument("--num-images", type=int, help="how many pictures")
    parser.add_argument(
        "--slots", type=int, help="pictures side by side, each deciding for itself"
    )
    parser.add_argument(
        "--guidance-scale", type=float, help="what dev is told; schnell takes none"
    )
    parser.add_argument(
        "--cache",
        default="none",
        help="cache backend: tea_cache, cache_dit, mag_cache, taylor_seer, ... "
        "(default: none)",
    )
    parser.add_argument(
        "--cache-config", type=json_object, metavar="JSON", help="its settings"
    )
    add_making_options(parser)
    parser.add_argument("--solver", help="euler, unipc, dpm++_2m, ...")
    parser.add_argument(
        "--schedule", metavar="NAME", help="linear, karras, ... of --steps"
    )
    parser.add_argument(
        "--transformer",
        type=path_option,
        metavar="PATH",
        help="another file or folder for the transformer",
    )
    parser.add_argument(
        "--lora", type=path_option, metavar="FILE", help="merged into the weights"
    )
    parser.add_argument(
        "--offload",
        action="append",
        metavar="NAME",
        help="what waits on the host: text_encoder, transformer",
    )

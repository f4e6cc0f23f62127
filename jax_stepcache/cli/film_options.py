"""Options of ``jax-stepcache film``; without JAX, as `parser`."""

from __future__ import annotations

from typing import Any

from jax_stepcache.cli.gpus import RULES
from jax_stepcache.cli.options import (
    add_guidance_interval,
    add_making_options,
    json_object,
)
from jax_stepcache.paths import path_option


def add_film(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "film",
        help="a film of words, and of pictures, by Wan",
        description="``jax-stepcache film``: a film of words, and of pictures. What is "
        "not said is as the model was released.",
    )
    parser.add_argument(
        "prompt",
        nargs="+",
        metavar="PROMPT",
        help="what is to be seen; several make a film each",
    )
    parser.add_argument(
        "--params",
        required=True,
        metavar="FOLDER",
        help="folder of a Wan, as diffusers or the original have it",
    )
    parser.add_argument(
        "--out",
        type=path_option,
        default="film.mp4",
        help="the film, .mp4 or .gif; of several, with numbers before the ending "
        "(default: %(default)s)",
    )
    parser.add_argument("--negative-prompt", help="what guidance leads away from")
    parser.add_argument("--image", type=path_option, help="picture it begins with")
    parser.add_argument("--last-image", type=path_option, help="picture it ends with")
    parser.add_argument("--video", type=path_option, help="film that is changed")
    parser.add_argument(
        "--strength", type=float, help="how much of it, in (0, 1] (default: 0.8)"
    )
    parser.add_argument(
        "--fit", help="how pictures get its size: stretched, covered or bicubic"
    )
    parser.add_argument(
        "--slots", type=int, help="films side by side, each deciding for itself"
    )
    parser.add_argument("--num-frames", type=int, help="one more than a multiple of 4")
    parser.add_argument("--fps", type=float, help="frames a second")
    parser.add_argument("--guidance-scale", type=float, help="guidance scale")
    parser.add_argument(
        "--guidance-scale-2", type=float, help="that of the low-noise expert"
    )
    add_guidance_interval(parser)
    parser.add_argument(
        "--cache",
        default="none",
        help="cache backend: tea_cache, cache_dit, mag_cache, step_cache, ... "
        "(default: none)",
    )
    parser.add_argument(
        "--cache-config",
        type=json_object,
        metavar="JSON",
        help="""its settings; of two experts '{"high": {...}, "low": {...}}'""",
    )
    add_making_options(parser)
    parser.add_argument("--solver", help="unipc, euler, dpm++_2m, ...")
    parser.add_argument("--shift", type=float, help="timestep shift")
    parser.add_argument(
        "--schedule", metavar="NAME", help="linear, karras, ... in place of --shift"
    )
    parser.add_argument(
        "--sigmas",
        help="noise levels: original, diffusers_unipc or diffusers_euler (default: "
        "the folder's)",
    )
    parser.add_argument(
        "--lora",
        action="append",
        metavar="FILE",
        help="merged into the weights; high=FILE and low=FILE for two experts",
    )
    parser.add_argument(
        "--tokenizer", type=path_option, help="where it lies, if not in the folder"
    )
    parser.add_argument(
        "--offload",
        action="append",
        metavar="NAME",
        help="what waits on the host: text_encoder, image_encoder, decoder, experts",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="the first N together")
    parser.add_argument(
        "--rules", choices=RULES, help="how the work is cut over them, as rules= says"
    )

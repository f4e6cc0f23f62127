"""Options of ``jax-stepcache serve``; without JAX, as `parser`."""

from __future__ import annotations

from typing import Any

from jax_stepcache.cli.options import add_params_option, json_object
from jax_stepcache.paths import path_option

# Fields of `ServerSettings`, with dashes; their types, defaults as shown, and help.
LIMITS = (
    ("slots", int, "8", "robots that are stepped together"),
    ("capacity", int, "4 x slots", "requests that may wait; one more is refused"),
    ("deadline", float, "30", "seconds after which a request gets an error"),
    ("session-ttl", float, "600", "seconds after which an idle session is forgotten"),
    ("max-sessions", int, "64", "sessions at a time"),
    ("idle-at-least", float, "10", "seconds after which one makes room for another"),
    ("max-connections", int, "256", "connections at a time"),
    ("max-message", int, "67108864", "bytes of a message"),
    ("max-frames", int, "64", "pictures of one camera in a message"),
    ("max-pixels", int, "2097152", "of a picture"),
    ("max-kinds", int, "8", "sizes of pictures that are compiled for beside the usual"),
    ("drain", float, "30", "seconds that requests have to end after SIGTERM"),
)


def add_serve(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "serve",
        help="a policy for robots that speak openpi's or DreamZero's protocol",
        description="``jax-stepcache serve``: a policy behind a websocket, for robots "
        "that speak openpi's, RoboArena's or DreamZero's protocol.",
    )
    add_params_option(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 for all (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="0 for any free one (default: 8000)"
    )
    parser.add_argument(
        "--cache",
        default="step_cache",
        help="cache backend, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-config", type=json_object, metavar="JSON", help="its settings"
    )
    parser.add_argument(
        "--budget", type=int, help="network calls for --cache tuned or bespoke"
    )
    parser.add_argument("--guidance-scale", type=float, help="guidance scale")
    parser.add_argument(
        "--most-steps",
        type=int,
        help="solver steps that a request may ask for (default: the model's own)",
    )
    parser.add_argument(
        "--embodiment",
        metavar="NAME",
        help="the robot, of a model that knows several: oxe_droid, agibot or yam; of "
        "pi0 droid or libero",
    )
    for name, kind, default, text in LIMITS:
        parser.add_argument(f"--{name}", type=kind, help=f"{text} (default: {default})")
    parser.add_argument(
        "--sessions",
        type=path_option,
        metavar="DIR",
        help="where sessions are saved at the end, and restored from at the start",
    )
    parser.add_argument(
        "--replicas",
        type=int,
        metavar="N",
        help="so many, by Ray Serve, each with a GPU where there are any; limits hold "
        "for each",
    )
    parser.add_argument(
        "--hosts",
        nargs="+",
        metavar="NAME",
        help="names that clients may call it by, '*' for any (default: at 127.0.0.1 "
        "without a token those of this machine, otherwise any)",
    )
    parser.add_argument(
        "--token-file",
        type=path_option,
        metavar="FILE",
        help="holds the bearer token that clients must show",
    )
    parser.add_argument(
        "--tls-certificate",
        type=path_option,
        metavar="FILE",
        help="PEM certificate chain; with it wss:// and https://",
    )
    parser.add_argument(
        "--tls-key", type=path_option, metavar="FILE", help="its PEM key"
    )
    parser.add_argument(
        "--debug", action="store_true", help="send tracebacks of errors to clients"
    )

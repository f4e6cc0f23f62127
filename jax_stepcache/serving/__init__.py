"""Requests that come while others run: a stream, a front for threads, and robots."""

from jax_stepcache.serving.opening import serve
from jax_stepcache.serving.outcome import DeadlineExceeded, Outcome
from jax_stepcache.serving.robots.opening import policy_server
from jax_stepcache.serving.robots.settings import ServerSettings
from jax_stepcache.serving.server import Server
from jax_stepcache.serving.stream import Stream

__all__ = [
    "DeadlineExceeded",
    "Outcome",
    "Server",
    "ServerSettings",
    "Stream",
    "policy_server",
    "serve",
]

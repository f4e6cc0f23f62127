"""Requests that come while others run: a stream of them, and a front for threads."""

from jax_stepcache.serving.opening import serve
from jax_stepcache.serving.outcome import DeadlineExceeded, Outcome
from jax_stepcache.serving.server import Server
from jax_stepcache.serving.stream import Stream

__all__ = ["DeadlineExceeded", "Outcome", "Server", "Stream", "serve"]

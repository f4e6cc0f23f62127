"""What a server tells Prometheus."""

from __future__ import annotations

import collections
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from jax_stepcache.serving.robots.refused import KINDS

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_LATELY = 256

TYPE = CONTENT_TYPE_LATEST
"""The content type of `Metrics.text`."""


class Metrics:
    """Counters of one server, in a registry of their own.

    Attributes:
        latencies: seconds of the last requests that got actions, for the status page.
    """

    def __init__(self) -> None:
        """All at zero."""
        self.latencies: collections.deque[float] = collections.deque(maxlen=_LATELY)
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "robots_request_seconds",
            "From a request's frame to its actions",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._step = Histogram(
            "robots_step_seconds",
            "Of the policy, for all robots that were stepped together",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stepped = Counter(
            "robots_steps", "Control steps taken", registry=self._registry
        )
        self._calls = Counter(
            "robots_network_calls",
            "Calls of the network for one robot each",
            registry=self._registry,
        )
        self._skipped = Counter(
            "robots_network_calls_skipped",
            "Calls that the cache has saved",
            registry=self._registry,
        )
        self._errors = Counter(
            "robots_errors", "Requests refused", ["kind"], registry=self._registry
        )
        for kind in KINDS:
            self._errors.labels(kind)

    def watch(self, name: str, said: str, ask: Callable[[], float]) -> None:
        """Adds a number that is asked for whenever somebody looks.

        Args:
            name: behind ``robots_``.
            said: what it is.
            ask: tells it; called from any thread.
        """
        gauge = Gauge(f"robots_{name}", said, registry=self._registry)
        gauge.set_function(ask)

    def request(self, seconds: float) -> None:
        """A request was answered with actions; resets and refusals are not counted."""
        self._latency.observe(seconds)
        self.latencies.append(seconds)

    def step(self, robots: int, seconds: float, made: int, skipped: int) -> None:
        """Robots were stepped together; of network calls, for one robot each.

        Args:
            robots: how many.
            seconds: that it took.
            made: network calls.
            skipped: those that the cache has saved.
        """
        self._step.observe(seconds)
        self._stepped.inc(robots)
        self._calls.inc(made)
        self._skipped.inc(skipped)

    def error(self, kind: str) -> None:
        """A request was refused."""
        self._errors.labels(kind).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' format."""
        return generate_latest(self._registry)

"""Several replicas of a policy, by Ray Serve: each the whole ASGI application.

A websocket stays on the replica that took it, and so do its sessions. Which replica
that is, how many there are, and what becomes of one that dies is Ray's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jax_stepcache.check import check_count
from jax_stepcache.serving.robots.opening import policy_from
from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.settings import ServerSettings


def ray_application(
    load: Callable[[], Policy],
    *,
    replicas: int = 1,
    most_replicas: int | None = None,
    gpus: float = 0,
    actor_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Makes an application of Ray Serve; ``serve.run`` takes it.

    Args:
        load: makes the policy, in the process of each replica.
        replicas: how many there are; with ``most_replicas`` the fewest.
        most_replicas: how many there may be. Another is started where each replica has
            more connections than slots.
        gpus: of each replica.
        actor_options: others of ``ray_actor_options``, such as ``runtime_env``.
        **settings: fields of `ServerSettings`; limits hold for each replica.

    Returns:
        The application.

    Raises:
        ValueError: for settings that do not fit.
        ImportError: without the extra ``ray``.
    """
    check_count("replicas", replicas, 1)
    checked = ServerSettings(**settings)
    if checked.sessions is not None:
        raise ValueError(
            "sessions= is a folder of one server; replicas would write over each "
            "other's"
        )
    serve = _serve()
    count: dict[str, Any] = {"num_replicas": replicas}
    if most_replicas is not None:
        check_count("most_replicas", most_replicas, replicas)
        scaling = {
            "min_replicas": replicas,
            "max_replicas": most_replicas,
            "target_ongoing_requests": checked.slots,
        }
        count = {"autoscaling_config": scaling}

    def build() -> Any:
        from jax_stepcache.serving.robots.admission import known_hosts
        from jax_stepcache.serving.robots.running import PolicyServer

        return known_hosts(PolicyServer(load(), checked).app, checked.hosts or ("*",))

    @serve.ingress(build)
    class Robots:
        """A replica."""

    deployment = serve.deployment(
        Robots,
        name="robots",
        # A connection is one request of Ray's, as long as it lasts.
        max_ongoing_requests=checked.max_connections,
        ray_actor_options={"num_gpus": gpus, **(actor_options or {})},
        graceful_shutdown_timeout_s=checked.drain,
        **count,
    )
    return deployment.bind()


def application_from(arguments: Mapping[str, Any]) -> Any:
    """What a config of ``serve run`` or ``serve deploy`` names as its import path.

    Args:
        arguments: ``params``; ``policy``, a map of the policy's settings; the rest as
            of `ray_application`.

    Returns:
        The application.
    """
    rest = dict(arguments)
    source, policy = rest.pop("params", "tabletop"), rest.pop("policy", {})
    return ray_application(lambda: policy_from(source, **policy), **rest)


def run_on_ray(application: Any, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        application: of `ray_application`.
        host: the address to listen at.
        port: likewise.

    Raises:
        ImportError: without the extra ``ray``.
    """
    serve = _serve()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve.start(http_options={"host": host, "port": port})
    serve.run(application, name="robots", route_prefix="/")
    stop.wait()
    serve.shutdown()


def gpus_each() -> float:
    """How many GPUs a replica is given here: one, where there are any.

    Raises:
        ImportError: without the extra ``ray``.
    """
    _serve()
    import ray  # pyright: ignore[reportMissingImports]

    ray.init(ignore_reinit_error=True)
    return 1.0 if ray.cluster_resources().get("GPU") else 0.0


def _serve() -> Any:
    try:
        from ray import serve  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"replicas need Ray: pip install 'jax-stepcache[ray]' ({error})"
        ) from error
    return serve

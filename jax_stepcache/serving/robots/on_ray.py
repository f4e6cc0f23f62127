"""Several replicas of a policy, by Ray Serve: each the whole ASGI application.

A websocket stays on the replica that took it, and so do its sessions. Which replica
that is, how many there are, and what becomes of one that dies is Ray's. What Ray cannot
know it is told: how many requests wait, and that replicas shall drain.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jax_stepcache.check import check_count
from jax_stepcache.serving.robots.admission import know_hosts
from jax_stepcache.serving.robots.opening import policy_from
from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.scaling import LOAD, replicas_by_queue
from jax_stepcache.serving.robots.settings import ServerSettings

_log = logging.getLogger("jax_stepcache.robots")
_BY_RAY = 10.0  # seconds that it takes to tell replicas
_PAGES = 16  # requests of a replica beside its robots' connections


def ray_application(
    load: Callable[[], Policy],
    *,
    replicas: int = 1,
    most_replicas: int | None = None,
    scaling: Mapping[str, Any] | None = None,
    gpus: float = 0,
    actor_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Makes an application of Ray Serve; ``serve.run`` takes it.

    Args:
        load: makes the policy, in the process of each replica.
        replicas: how many there are; with ``most_replicas`` the fewest.
        most_replicas: how many there may be: as many as have slots for the requests
            that wait or run, see `replicas_by_queue`.
        scaling: others of Ray's ``autoscaling_config``, such as ``upscale_delay_s``.
        gpus: of each replica.
        actor_options: others of ``ray_actor_options``, such as ``runtime_env``.
        **settings: fields of `ServerSettings`; limits hold for each replica.

    Returns:
        The application.

    Raises:
        ValueError: for settings that do not fit.
        ImportError: without the extra ``ray``.
    """
    checked = check_replicas(replicas, **settings)
    serve = _serve()

    def build() -> Any:
        from jax_stepcache.serving.robots.running import PolicyServer

        server = PolicyServer(load(), checked)
        know_hosts(server.app, checked.hosts or ("*",))
        return server.app

    deployment = serve.deployment(
        serve.ingress(build)(Robots),
        name="robots",
        # A connection is one request of Ray's, as long as it lasts. Where all are taken
        # there is still room for pages, and for telling the next robot so.
        max_ongoing_requests=checked.max_connections + _PAGES,
        max_queued_requests=checked.max_connections,
        ray_actor_options={"num_gpus": gpus, **(actor_options or {})},
        graceful_shutdown_timeout_s=checked.drain,
        **_count(replicas, most_replicas, scaling),
    )
    return deployment.bind()


def check_replicas(replicas: int, **settings: Any) -> ServerSettings:
    """Tells what `ray_application` would, before Ray is there.

    Args:
        replicas: how many.
        **settings: fields of `ServerSettings`.

    Returns:
        The settings.

    Raises:
        ValueError: for what does not fit.
    """
    check_count("replicas", replicas, 1)
    checked = ServerSettings(**settings)
    if checked.sessions is not None:
        raise ValueError(
            "sessions= is a folder of one server; replicas would write over each "
            "other's"
        )
    return checked


class Robots:
    """A replica. Ray gives it its application, and asks what has a name of Ray's."""

    app: Any

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `replicas_by_queue` decides by."""
        service = self.app.state.service
        busy = service.worker.waiting() + service.worker.running
        return {LOAD: busy / service.settings.slots}

    def check_health(self) -> None:
        """Lets Ray replace a replica that serves nobody any more.

        Raises:
            RuntimeError: if it has failed.
        """
        failure = self.app.state.service.failure
        if failure is not None:
            raise RuntimeError(f"the policy cannot be served: {failure}") from failure

    async def drain(self) -> None:
        """Takes no new request, answers those under way, and closes connections."""
        await self.app.state.service.drain()
        await self.app.state.service.hang_up()


def _count(
    replicas: int, most: int | None, scaling: Mapping[str, Any] | None
) -> dict[str, Any]:
    """How many replicas, in Ray's words."""
    if most is None:
        if scaling is not None:
            raise ValueError("scaling= is given where most_replicas= is")
        return {"num_replicas": replicas}
    check_count("most_replicas", most, replicas)
    policy = f"{replicas_by_queue.__module__}:{replicas_by_queue.__name__}"
    return {
        "autoscaling_config": {
            "min_replicas": replicas,
            "max_replicas": most,
            "policy": {"policy_function": policy},
            **(scaling or {}),
        }
    }


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


def run_on_ray(application: Any, host: str, port: int, drain: float) -> None:
    """Serves until SIGTERM or SIGINT, which drain; a second one does not wait.

    Args:
        application: of `ray_application`.
        host: the address to listen at.
        port: likewise.
        drain: seconds that replicas have to drain.

    Raises:
        ImportError: without the extra ``ray``.
    """
    serve = _serve()
    running, stop, at_once = (threading.Event() for _ in range(3))

    def told(*_: Any) -> None:
        if not running.is_set():  # weights are being loaded, which takes minutes
            sys.exit(0)
        (at_once if stop.is_set() else stop).set()

    found = bool(serve.status().proxies)  # somebody's, with applications of theirs
    serve.start(http_options={"host": host, "port": port})
    try:
        # After Ray, which has handlers of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, told)
        handle = serve.run(application, name="robots", route_prefix="/")
        running.set()
        stop.wait()
        draining = threading.Thread(
            target=drain_replicas, args=(handle, drain), daemon=True
        )
        draining.start()
        while draining.is_alive() and not at_once.is_set():
            draining.join(0.1)
    finally:
        if found:
            serve.delete("robots", _blocking=not at_once.is_set())
        else:
            serve.shutdown()


def drain_replicas(handle: Any, drain: float) -> None:
    """Lets all replicas drain.

    Args:
        handle: what ``serve.run`` returned.
        drain: seconds that they have.
    """
    try:
        handle.broadcast("drain").results(timeout_s=drain + _BY_RAY)
    except Exception:  # of one that has died, say: the others have drained
        _log.warning("not all replicas have drained", exc_info=True)


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

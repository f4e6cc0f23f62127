"""``jax-stepcache serve``: a policy behind a websocket."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jax_stepcache.cli.serve_options import LIMITS
from jax_stepcache.serving.robots.logs import log_to_stderr
from jax_stepcache.serving.robots.opening import (
    check_policy,
    policy_from,
    policy_server,
    server_class,
)
from jax_stepcache.serving.robots.saved import check_folder
from jax_stepcache.serving.robots.settings import ServerSettings

_WITH_BUDGET = ("tuned", "bespoke")


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    with _ended_by_sigterm():
        _run(parsed)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Ends with 0 also where SIGTERM comes before there is a server, which drains.

    Weights take minutes to load, and a supervisor that changes its mind is no fault.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _run(parsed: argparse.Namespace) -> None:
    # What could be wrong on the command line is told before weights are loaded.
    if not 0 <= parsed.port < 2**16:
        raise ValueError(f"--port is {parsed.port}; give one of 0 to 65535")
    settings = server_settings(parsed)
    folder = ServerSettings(**settings).folder
    if folder is not None and parsed.replicas is None:
        check_folder(folder)
    _check_tls(parsed)
    server_class()  # told of what is not installed
    if parsed.replicas is not None:
        _run_replicas(parsed, settings)
        return
    log_to_stderr()
    policy = policy_from(parsed.params, **policy_settings(parsed))
    server, status = policy_server(policy, **settings), 0
    try:
        server.run(
            parsed.host,
            parsed.port,
            certificate=parsed.tls_certificate,
            key=parsed.tls_key,
        )
    except RuntimeError as error:
        if server.service.failure is None and server.service.unsaved is None:
            raise
        # One line, as of bad input; the log has where it comes from.
        if not server.service.worker.is_alive():
            raise ValueError(str(error)) from error
        print(f"jax-stepcache: {error}", file=sys.stderr)
        status = 1
    if server.service.worker.is_alive():
        # A step was not waited for. A thread that waits for a device while Python is
        # torn down around it aborts the process.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def _run_replicas(parsed: argparse.Namespace, settings: dict[str, Any]) -> None:
    if parsed.tls_certificate is not None:
        raise ValueError(
            "--tls-certificate is for one server; replicas are behind Ray's proxy: put "
            "TLS in front of it"
        )
    from jax_stepcache.serving.robots.on_ray import (
        check_replicas,
        gpus_each,
        ray_application,
        run_on_ray,
    )

    source, policy = parsed.params, policy_settings(parsed)
    given = check_replicas(parsed.replicas, **settings)
    check_policy(source, **policy)
    application = ray_application(
        functools.partial(policy_from, source, **policy),
        replicas=parsed.replicas,
        gpus=gpus_each(),
        **{**settings, "hosts": given.hosts_at(parsed.host)},
    )
    run_on_ray(application, parsed.host, parsed.port, given.drain)


def policy_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Which policy, and how it samples."""
    given = {
        "cache_config": _cache_config(parsed),
        "guidance_scale": parsed.guidance_scale,
        "most_steps": parsed.most_steps,
        "embodiment": parsed.embodiment,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return {"cache_backend": parsed.cache, **given}


def _cache_config(parsed: argparse.Namespace) -> dict[str, Any] | None:
    config, budget = parsed.cache_config, parsed.budget
    if budget is None:
        return config
    if parsed.cache not in _WITH_BUDGET:
        raise ValueError(
            f"--budget is {budget}, and --cache {parsed.cache} has none; "
            f"{' and '.join(_WITH_BUDGET)} have"
        )
    if config is not None and "budget" in config:
        raise ValueError("--budget and --cache-config's budget are one; give either")
    return {**(config or {}), "budget": budget}


def server_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Fields of `ServerSettings` that were given."""
    names = [name.replace("-", "_") for name, *_ in LIMITS]
    given: dict[str, Any] = {
        name: value
        for name in [*names, "sessions", "hosts"]
        if (value := getattr(parsed, name)) is not None
    }
    given["debug"] = parsed.debug
    if parsed.token_file is not None:
        given["token"] = _token(parsed.token_file)
    ServerSettings(**given)
    return given


def _token(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
        ServerSettings(token=token)
    except (OSError, ValueError) as error:
        raise ValueError(f"--token-file {file}: {error}") from error
    return token


def _check_tls(parsed: argparse.Namespace) -> None:
    if (parsed.tls_certificate is None) != (parsed.tls_key is None):
        raise ValueError("--tls-certificate and --tls-key go together")
    for file in (parsed.tls_certificate, parsed.tls_key):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")

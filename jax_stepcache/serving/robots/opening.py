"""`policy_server`: a pipeline on a port."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jax_stepcache.backends import get_cache_backend
from jax_stepcache.errors import brief, nearest
from jax_stepcache.network.offered import offered
from jax_stepcache.network.registry import open_checkpoint
from jax_stepcache.paths import as_path
from jax_stepcache.policy.named import Unconditional
from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.settings import ServerSettings

if TYPE_CHECKING:
    from jax_stepcache.serving.robots.running import PolicyServer

_NAMES = ("tabletop", "metaworld")  # models that act for robots


def policy_server(pipeline: Any, **settings: Any) -> PolicyServer:
    """Makes a server for robots, with openpi's and DreamZero's messages.

    Args:
        pipeline: a pipeline whose model says how robots are served by it, such as
            `DreamZeroPipeline.from_folder(...)`; or a `Policy` of your own.
        **settings: fields of `ServerSettings`.

    Returns:
        The server; it does not run yet.

    Raises:
        TypeError: for what cannot be served, or settings that there are not.
        ValueError: for settings that do not fit.
        ImportError: without the extra ``robot``.
    """
    policy = as_policy(pipeline)
    checked = ServerSettings(**settings)
    return server_class()(policy, checked)


def server_class() -> type[PolicyServer]:
    """The server, where what it needs is installed.

    Raises:
        ImportError: without the extra ``robot``.
    """
    try:
        from jax_stepcache.serving.robots.running import PolicyServer
    except ImportError as error:
        raise ImportError(
            f"serving robots needs more: pip install 'jax-stepcache[robot]' ({error})"
        ) from error
    return PolicyServer


def policy_from(source: str | os.PathLike[str], **settings: Any) -> Policy:
    """Loads a model to be served to robots.

    Args:
        source: a bundled model's name, or a checkpoint, as of `load_params`.
        **settings: of the model's ``load_policy``: ``most_steps``, and those of its
            pipeline, such as ``cache_backend``.

    Returns:
        The policy.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for a model that no robot is served by, or settings that do not fit.
    """
    check_policy(source, **settings)
    load: Any = offered(open_checkpoint(source).model, "load_policy")
    return load(source, **settings)


def check_policy(source: str | os.PathLike[str], **settings: Any) -> None:
    """Tells what `policy_from` would, as far as no weights are needed.

    Loading them takes minutes, and replicas do it elsewhere.

    Args:
        source: see `policy_from`.
        **settings: likewise.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for a model that no robot is served by, or settings that do not fit.
    """
    try:
        model = open_checkpoint(source).model
    except FileNotFoundError as error:
        if str(source) in _NAMES or as_path(source).exists():
            raise  # Something in it is missing, or not made yet.
        raise FileNotFoundError(
            f"there is no file or folder {str(source)!r} here."
            f"{nearest(str(source), _NAMES)} Nothing is downloaded: give 'tabletop' or "
            "'metaworld', or a released folder of DreamZero or pi0"
        ) from error
    if offered(model, "load_policy") is None:
        raise ValueError(
            f"{model.name} acts for no robot; 'tabletop' and 'metaworld' do, and "
            "folders of DreamZero and pi0"
        )
    cache = settings.get("cache_backend")
    if isinstance(cache, str):
        scale = settings.get("guidance_scale", model.defaults.guidance_scale)
        _check_cache(model, cache, settings.get("cache_config"), scale != 1)


def _check_cache(model: Any, name: str, config: Any, guided: bool) -> None:
    """Raises what the first control step would, which brings no options of its own.

    A cache that has nothing to leave out is a warning there, for a whole fleet in a
    log that nobody reads; here it is an error.
    """
    backend = get_cache_backend(name, config)
    if backend is None or backend.tables(model, {}) is not None:
        return
    policy = backend.policy(model, model.defaults.num_inference_steps)
    if isinstance(policy, Unconditional) and not guided:
        raise ValueError(
            f"cache={name!r} leaves out the unconditional branch, and {model.name} is "
            "served without guidance, so there is none: give another cache, or 'none'"
        )


def as_policy(given: Any) -> Policy:
    """The policy that a pipeline is served as.

    Args:
        given: a pipeline, or a policy already.

    Returns:
        The policy.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(given, Policy):
        return given
    model = getattr(given, "model", None)
    serve = None if model is None else offered(model, "policy_of")
    if serve is None:
        raise TypeError(
            f"{brief(given)} cannot be served to robots: give a DreamZeroPipeline, or "
            "a Policy of your own"
        )
    return serve(given)

"""What a thread does not inherit: the switches of JAX that another has turned."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax

try:
    from jax.interpreters import pxla
except ImportError:
    pxla = None  # Newer ones have no ``with mesh``, of which it tells.

# Has been put on the three directions, which are switches of their own; and what is
# about the thread that turned it.
_LEFT_OUT = ("jax_transfer_guard", "jax_thread_guard")


@dataclass(frozen=True)
class Context:
    """JAX's context managers that a thread is in, to be entered by another.

    Attributes:
        switches: names and values of ``jax.default_matmul_precision``,
            ``jax.enable_x64`` and others, where the thread has other values than the
            process.
        meshes: those of ``jax.set_mesh``, ``jax.sharding.use_abstract_mesh`` and, where
            JAX still has it, ``with mesh``.
    """

    switches: Mapping[str, Any] = field(default_factory=dict)
    meshes: tuple[Callable[[], AbstractContextManager], ...] = ()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Turns the switches in this thread, as long as the block takes."""
        with ExitStack() as stack:
            for name, value in self.switches.items():
                stack.enter_context(getattr(jax, name)(value))
            for mesh in self.meshes:
                stack.enter_context(mesh())
            yield


def context_here() -> Context:
    """The context of this thread."""
    here, elsewhere = _switches(), {}
    # What a new thread has is what the process has.
    asking = threading.Thread(target=lambda: elsewhere.update(_switches()))
    asking.start()
    asking.join()
    turned = {
        name.removeprefix("jax_"): value
        for name, value in here.items()
        if name in elsewhere and value != elsewhere[name]
    }
    return Context(turned, tuple(_meshes()))


def _switches() -> dict[str, Any]:
    return {
        name: value
        for name, value in jax.config.values.items()
        if name not in _LEFT_OUT and hasattr(jax, name.removeprefix("jax_"))
    }


def _meshes() -> Iterator[Callable[[], AbstractContextManager]]:
    mesh, abstract = jax.sharding.get_mesh(), jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        yield lambda: jax.set_mesh(mesh)
    if not abstract.empty and (mesh.empty or abstract != mesh.abstract_mesh):
        yield lambda: jax.sharding.use_abstract_mesh(abstract)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        resources = getattr(pxla, "thread_resources", None)
    old = getattr(getattr(resources, "env", None), "physical_mesh", None)
    if old is not None and not old.empty:
        yield lambda: _with(old)


@contextmanager
def _with(mesh: jax.sharding.Mesh) -> Iterator[None]:
    with warnings.catch_warnings():
        # Whoever opened the server has been warned.
        warnings.simplefilter("ignore", DeprecationWarning)
        mesh.__enter__()
    try:
        yield
    finally:
        mesh.__exit__(None, None, None)

"""Cache backends for diffusion samplers, compiled into one JAX loop.

``sample(load_params(), cache="step_cache")`` samples a world-action model and says
which steps ran the network. The pieces, from the outside in: `Pipeline` and the
backends (vLLM-Omni's names), `sample`, `denoise` (the loop), policies (a signal, a gate
and a forecast), solvers and schedules.

The names stand in `jax_stepcache.public`. It is imported, and JAX with it, when one of
them is first asked for: ``jax-stepcache --help`` needs none.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jax_stepcache.errors import nearest

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jax_stepcache.public import *  # noqa: F403
    from jax_stepcache.public import __all__ as __all__
else:
    # Hidden from type checkers, who would take it for a promise of any name at all.
    def __getattr__(name: str) -> Any:
        # Tools ask every module for names of their own, such as `__wrapped__`.
        if name == "__all__" or not name.startswith("_"):
            # Not `from jax_stepcache import public`, which asks this function for it.
            public = importlib.import_module("jax_stepcache.public")
            for each in ("__all__", *public.__all__):
                globals().setdefault(each, getattr(public, each))
        # Importing sets modules too: `jax_stepcache.loop`.
        if name in globals():
            return globals()[name]
        hint = nearest(name, globals())
        message = f"module {__name__!r} has no attribute {name!r}{hint and f'.{hint}'}"
        # Given its name, Python adds no hint of its own.
        raise AttributeError(message, name=name)

    def __dir__() -> list[str]:
        return sorted({*__getattr__("__all__"), *globals()})

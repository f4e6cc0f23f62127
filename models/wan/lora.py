"""Files of LoRA for a Wan: one for its transformer, or one for each expert."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path

from ..checkpoints.lora import check_lora, merge_lora
from .model import WanModel

Files = Mapping[str, Any] | str | os.PathLike[str] | None
"""See `WanPipeline.from_folder`."""

_COMPONENTS = {"high": "transformer", "low": "transformer_2"}


def check_files(model: WanModel, lora: Files, scale: float) -> None:
    """Checks files by their headers, before weights are loaded.

    Args:
        model: of one transformer or two.
        lora: the files.
        scale: how much of them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for files for experts that there are not, or for another size.
    """
    params = Params({}, model)
    for component, file in _by_component(model, lora).items():
        check_lora(params, file, scale=scale, component=component)


def with_files(params: Params, lora: Files, scale: float) -> Params:
    """Merges files into weights, see `merge_lora`.

    Args:
        params: of one transformer or two; of experts that wait, one at a time.
        lora: the files.
        scale: how much of them.

    Returns:
        The params; those that were given are used up.
    """
    experts = dict(zip(_COMPONENTS.values(), _COMPONENTS, strict=True))
    for component, file in _by_component(params.model, lora).items():
        if params.model.experts.names and experts[component] not in params.weights:
            continue
        params = merge_lora(
            params, file, scale=scale, component=component, consume=True
        )
    return params


def _by_component(model: WanModel, lora: Files) -> dict[str, Any]:
    """Files by the names that a pipeline has for transformers."""
    names = model.experts.names
    if lora is None:
        return {}
    if not isinstance(lora, Mapping):
        if names:
            raise ValueError(
                'this Wan has two experts: give lora={"high": file, "low": file}, or '
                "one of the two; --lora high=FILE --lora low=FILE on the command line"
            )
        return {"transformer": as_path(lora, "lora")}
    if not names or not set(lora) <= set(names):
        has = f"the experts {list(names)}" if names else "one transformer: give a file"
        raise ValueError(f"lora has {sorted(lora)}; this Wan has {has}")
    return {_COMPONENTS[name]: file for name, file in lora.items()}

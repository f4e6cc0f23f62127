"""Models by name, loaded when asked for: the library itself knows no model."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp

from jax_stepcache.errors import unknown_name
from jax_stepcache.params import Params
from jax_stepcache.weights import check_weights, load_weights

# Each module offers `model_from_config(dict) -> Model`, `weights_struct(model)` and
# `WEIGHTS`, the path of its bundled file.
_MODULES = {"tabletop": "jax_stepcache.models.tabletop"}

DEFAULT_MODEL = "tabletop"


def load_params(source: str | os.PathLike[str] = DEFAULT_MODEL) -> Params:
    """Loads weights, bundled or from a file.

    Args:
        source: the name of a bundled model (``"tabletop"``), or the path of a
            safetensors file that names its model and configuration in its header, as
            the training command writes it.

    Returns:
        The params, on the default device.

    Raises:
        FileNotFoundError: if there is neither a model nor a file of that name.
        ValueError: if the file is cut short, foreign, a pickle, or does not fit its
            model; every tensor that is wrong is listed.
    """
    path = Path(source)
    if str(source) in _MODULES:
        path = Path(load_module(str(source)).WEIGHTS)
    elif not path.is_file():
        raise FileNotFoundError(
            f"{unknown_name('model', str(source), _MODULES)}, and no file has that path"
        )
    weights, metadata = load_weights(path)
    name = metadata.get("model")
    if name not in _MODULES or "config" not in metadata:
        raise ValueError(
            f"{path} does not say which model it holds; its header has "
            f"{sorted(metadata)}, and it needs 'model' (one of {sorted(_MODULES)}) and "
            "'config'"
        )
    module = load_module(name)
    model = module.model_from_config(json.loads(metadata["config"]))
    check_weights(weights, module.weights_struct(model), str(path))
    return Params(jax.tree.map(jnp.asarray, weights), model)


def load_module(name: str) -> ModuleType:
    """Imports the package of a bundled model.

    Args:
        name: the model's name.

    Returns:
        The package.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in _MODULES:
        raise ValueError(unknown_name("model", name, _MODULES))
    return importlib.import_module(_MODULES[name])

"""Models and checkpoints by name or path: the library itself knows no model."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_stepcache.checkpoints.layers import (
    layers_apart,
    put_together,
    wanted_layers,
)
from jax_stepcache.checkpoints.precision import precision
from jax_stepcache.checkpoints.shards import Shards
from jax_stepcache.checkpoints.streaming import Recipe, StreamedCheckpoint, as_it_is
from jax_stepcache.checkpoints.weights import flat, load_metadata, refuse_pickle
from jax_stepcache.errors import naming_arguments, nearest, unknown_name
from jax_stepcache.meshes.layout import layout_of
from jax_stepcache.meshes.presets import Rule
from jax_stepcache.network.configurations import CONFIGURATIONS, PARTS
from jax_stepcache.network.found_for import warn_of_other_weights
from jax_stepcache.network.offered import (
    in_dtype,
    in_layout,
    offered,
    placed_by_name,
)
from jax_stepcache.network.params import Params
from jax_stepcache.network.protocol import Part
from jax_stepcache.paths import as_path

if TYPE_CHECKING:
    from jax_stepcache.checkpoints.folder import FolderCheckpoint

# Packages of models, loaded when asked for. Each offers `model_from_config(config)`,
# `config_of(model)` (JSON) and `weights_struct(model)`. It may offer `WEIGHTS`, the
# path of a bundled file; `open_checkpoint(path)`, for the checkpoints of others, a
# `StreamedCheckpoint` or None; `open_part(path)`, likewise, of one that holds other
# networks as well; `named_model(name)`, for configurations; `weight_axes(name, ndim)`
# and `axis_sizes(model)`, for rules on a mesh; `with_dtype(model, name)`, the model
# with other activations; for `jax-stepcache info` `describe(model)`, rows,
# `memory(model, rows, devices, layout)`, and `networks_around` (see `Around`); for
# LoRA `tensor_plans(model, component)`, what tensors become, one for each way of
# naming them; for `jax-stepcache film` `make_films(folder, prompt, out, **rest)`,
# films by their files; `finetune` with `FinetuneSettings`; for robots
# `policy_of(pipeline)` and `load_policy(source, most_steps, **settings)`, each a
# `Policy`. What it does not offer, its base class's package may. The module of a
# model's class stands in the package itself and not in a folder of it, for there
# `offered` looks.
_MODULES = {
    "tabletop": "jax_stepcache.models.tabletop",
    "dreamzero": "jax_stepcache.models.dreamzero",
    "dit": "jax_stepcache.models.dit",
    "wan": "jax_stepcache.models.wan",
    "film": "jax_stepcache.models.film",
    "pi0": "jax_stepcache.models.pi0",
    "metaworld": "jax_stepcache.models.metaworld",
    "wan_vae": "jax_stepcache.models.wan_vae",
    "flux": "jax_stepcache.models.flux",
    "flux_vae": "jax_stepcache.models.flux_vae",
    "umt5": "jax_stepcache.models.umt5",
    "clip_text": "jax_stepcache.models.clip_text",
    "clip_vision": "jax_stepcache.models.clip_vision",
}

DEFAULT_MODEL = "tabletop"


@naming_arguments()
def load_params(
    source: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
    rules: str | Mapping[str, Any] | Iterable[Rule] | None = None,
    layers: str | None = None,
    part: str | None = None,
) -> Params:
    """Loads weights, bundled or from disk.

    At a time, the host holds one tensor of safetensors, or one part of an Orbax folder.

    Args:
        source: the name of a bundled model (``"tabletop"``, ``"dit"``, ``"film"``), or
            a path: a folder as `save_params` and ``jax-stepcache convert`` write it; a
            safetensors file that names its model and configuration in its header, as
            the training commands write it; or a released checkpoint of a model that is
            known, a folder of safetensors files with their index, or one such file.
        dtype: bfloat16 or float32, to cast weights and the model's activations to;
            those of the checkpoint unless given.
        mesh: devices to place the weights on as they arrive. Each weight's longest axis
            that their number divides is split over all of them; the default device
            holds everything unless given.
        rules: how the weights, and all arrays made with them, lie on the mesh instead:
            ``"tensor"``, ``"branches"``, ``"data"`` or ``"fsdp"``, see
            `preset_rules`; or pairs, or a mapping, from logical axis (``"batch"``,
            ``"branch"``, ``"heads"``, ``"mlp"``, ``"embed"``, ``"layers"``,
            ``"frames"``) to mesh axis. `sample`, `sample_many`, `serve` and
            `DreamZeroPipeline` follow them.
        layers: ``"stacked"``, the weights of all blocks as arrays with a leading layer
            axis, for training and for CPUs; ``"apart"``, one array a layer (`Layers`),
            which a GPU reads without copying them; the one that suits the devices
            unless given.
        part: of a checkpoint with several networks the one beside that which is
            sampled, such as ``"vae"``: of a released folder of DreamZero, or of a
            folder with one of that name in it, as diffusers' pipelines have.

    Returns:
        The params. Those of a part are no model's that is sampled, see `Part`.

    Raises:
        FileNotFoundError: if there is neither a model nor a file of that name, or if
            files of the checkpoint are missing.
        ValueError: if there is no such dtype, part or way to keep the layers; if the
            name has no bundled weights; if a file is cut short, foreign or a pickle; if
            the checkpoint does not fit its model: every tensor that is missing, extra,
            misshapen or not finite is listed; or if mesh and rules do not fit it.
        TypeError: if mesh or rules are of another kind.
    """
    name, kept = precision(dtype), wanted_layers(layers, mesh)
    layout = layout_of(mesh, rules)
    checkpoint = open_checkpoint(source, part)
    model = in_dtype(checkpoint.model, name)
    where = mesh
    if layout is not None:
        model = in_layout(model, layout)
        where = placed_by_name(model, layout)
        where.shardings(offered(model, "weights_struct")(model))  # which checks them
    weights = checkpoint.load(dtype=name, mesh=where)
    if str(source) not in _MODULES and name is None and mesh is None:
        warn_of_other_weights(model, weights)
    if kept == "apart":
        weights = layers_apart(weights, consume=True)
    return Params(weights, model)


@naming_arguments()
def load_model(
    source: str | os.PathLike[str] = DEFAULT_MODEL, *, part: str | None = None
) -> Any:
    """Makes a model without weights.

    Args:
        source: the name of a configuration (``"droid-14b"``, ``"wan22-5b"``,
            ``"sit-s/2"`` to ``"sit-xl/8"``, ``"wan-vae-2.1"``, ``"wan-vae-2.2"``), or
            anything that `load_params` takes.
        part: see `load_params`.

    Returns:
        The `Model`, or a `Part`.

    Raises:
        FileNotFoundError: if there is neither a model nor a file of that name.
        ValueError: as `load_params`, as far as it shows without reading weights.
    """
    if str(source) in CONFIGURATIONS and part is None:
        module = load_module(CONFIGURATIONS[str(source)])
        return module.named_model(str(source))
    return open_checkpoint(source, part).model


@naming_arguments()
def save_params(path: str | os.PathLike[str], params: Params) -> None:
    """Saves weights and what model they belong to, as a folder of Orbax checkpoints.

    Until it is whole the folder is called ``path`` with ``.partial`` behind it.

    Args:
        path: the folder to be; `load_params` takes it.
        params: the weights and their model.

    Raises:
        FileExistsError: if there is something of that name.
        TypeError: if ``params`` are no `Params`.
        ValueError: if their model is none that `load_params` could find again.
    """
    from jax_stepcache.checkpoints.folder import FolderWriter, parts_of

    if not isinstance(params, Params):
        raise TypeError(f"params must be a Params, got {type(params).__name__}")
    name, config = description(params.model)
    weights = flat(params.weights)
    writer = FolderWriter(path)
    for part, names in parts_of(weights).items():
        writer.write(part, put_together({name: weights[name] for name in names}))
    writer.finish(name, config)


def open_checkpoint(
    source: str | os.PathLike[str], part: str | None = None
) -> FolderCheckpoint | StreamedCheckpoint:
    """Finds out what a checkpoint is and which model it is for; reads no weights.

    Args:
        source: as in `load_params`.
        part: likewise.

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: as `load_params`.
        ValueError: as `load_params`, as far as it shows without reading weights.
    """
    if part is not None and part not in PARTS:
        raise ValueError(unknown_name("part", part, PARTS))
    path = as_path(source, "source")
    if part is not None and path.exists():
        return _open_part(path, part)
    if str(source) in _MODULES:
        path = _bundled(str(source))
    elif str(source) in CONFIGURATIONS and not path.exists():
        raise ValueError(_no_weights(str(source)))
    elif not path.exists():
        # A package that is there for its configurations alone is not a name to load.
        known = {*_MODULES, *CONFIGURATIONS} - {
            name
            for name in _MODULES
            if name in CONFIGURATIONS.values()
            and not hasattr(load_module(name), "WEIGHTS")
        }
        raise FileNotFoundError(
            f"there is no file or folder {str(source)!r} here, and no model of that "
            f"name.{nearest(str(source), known)} Nothing is downloaded. "
            f"Supported: {sorted(known)}"
        )
    found = _open_ours(path) or _open_foreign(path)
    if found is None:
        raise ValueError(_of_no_model(path))
    return found


def load_module(name: str) -> ModuleType:
    """Imports the package of a model.

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


def description(model: Part) -> tuple[str, dict[str, Any]]:
    """What a checkpoint says of its model, so that it is found again.

    Args:
        model: the model.

    Returns:
        Its name and its configuration, as JSON.

    Raises:
        ValueError: if the model is not of a package that is known.
    """
    config_of = offered(model, "config_of")
    if model.name not in _MODULES or config_of is None:
        raise ValueError(
            f"{unknown_name('model', model.name, _MODULES)}; only weights of these are "
            "saved with their model, others with Orbax or safetensors directly"
        )
    return model.name, config_of(model)


def _bundled(name: str) -> Path:
    """The weights that come with a model."""
    bundled = getattr(load_module(name), "WEIGHTS", None)
    if bundled is None:
        raise ValueError(_no_weights(name))
    return as_path(bundled)


def _no_weights(name: str) -> str:
    return (
        f"no weights are bundled for {name!r}: give the path of its checkpoint, as "
        "released or converted. load_model gives the model alone, for "
        f"{sorted(CONFIGURATIONS)}"
    )


def _open_part(path: Path, part: str) -> FolderCheckpoint | StreamedCheckpoint:
    """One of several networks that lie in a folder of its own, or all in one."""
    inside = path / part
    path = inside if inside.is_dir() else path
    if (ours := _open_ours(path)) is not None:
        if ours.model.name not in PARTS[part]:
            raise ValueError(f"{path} is no {part}, but weights of {ours.model.name}")
        return ours
    for name in PARTS[part]:
        if (found := load_module(name).open_part(path)) is not None:
            return cast("StreamedCheckpoint", found)
    raise ValueError(
        f"{path} holds no {part} in safetensors of a known layout"
        + _pickles_beside(path, inside)
    )


def _pickles_beside(path: Path, inside: Path) -> str:
    """What to do with the pickles of a folder, as Wan's are released; "" without."""
    ends = (".pth", ".pt", ".bin", ".ckpt")
    files = sorted(path.iterdir()) if path.is_dir() else []
    names = [file.name for file in files if file.suffix in ends]
    if not names:
        return ""
    return (
        f", but pickles, which are never opened: {', '.join(names[:8])}. Where "
        "there is PyTorch, turn the one that holds it into safetensors, once: "
        "torch.load(..., weights_only=True), then safetensors.torch.save_file to "
        f"{inside / 'model.safetensors'}"
    )


def _open_ours(path: Path) -> FolderCheckpoint | StreamedCheckpoint | None:
    """A folder or a file that this library has written, or None."""
    from jax_stepcache.checkpoints.folder import (
        MODEL,
        FolderCheckpoint,
        read_description,
    )

    if not path.is_dir():
        refuse_pickle(path)
        metadata = load_metadata(path)
        known = metadata.get("model") in _MODULES and "config" in metadata
        return _open_file(path, metadata) if known else None
    if (path / MODEL).is_file():
        said = read_description(path)
        module = load_module(said.model)
        model = _configured(module, said.config, path / MODEL)
        return FolderCheckpoint(path, model, module.weights_struct(model), said.files)
    files = [child for child in path.iterdir() if child.is_file()]
    if not any(".safetensors" in file.name for file in files):
        for file in files:
            refuse_pickle(file)
    return None


def _of_no_model(path: Path) -> str:
    """What there is where no model knows anything."""
    if path.is_dir():
        has = sorted(child.name for child in path.iterdir())[:8]
        return (
            f"{path} is no checkpoint of {sorted(_MODULES)}: it has neither model.json "
            f"nor safetensors files of a known layout, but {has}"
        )
    return (
        f"{path} does not say which model it holds; its header has "
        f"{sorted(load_metadata(path))}, and it needs 'model' (one of "
        f"{sorted(_MODULES)}) and 'config'"
    )


def _open_file(path: Path, metadata: dict[str, str]) -> StreamedCheckpoint:
    """A safetensors file of ours: its tensors are the weights."""
    module = load_module(metadata["model"])
    try:
        config = json.loads(metadata["config"])
    except ValueError as error:
        raise ValueError(f"{path}: 'config' is not JSON: {error}") from error
    model = _configured(module, config, path)
    plan = {
        name: Recipe((name,), struct.shape, as_it_is, struct.shape)
        for name, struct in flat(module.weights_struct(model)).items()
    }
    return StreamedCheckpoint(model, Shards(path), plan)


def _configured(module: ModuleType, config: Any, path: Path) -> Any:
    """The model of a configuration that came from a file."""
    try:
        return module.model_from_config(config)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: 'config' is no model's: {error}") from error


def _open_foreign(path: Path) -> StreamedCheckpoint | None:
    """Asks every model whether it knows such checkpoints."""
    for name in _MODULES:
        known = getattr(load_module(name), "open_checkpoint", None)
        found = None if known is None else known(path)
        if found is not None:
            return cast("StreamedCheckpoint", found)
    return None

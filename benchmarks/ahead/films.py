# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The programs of the models of films: sampling, whole or an expert's part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jax_stepcache import Params
from jax_stepcache.checkpoints.layers import taken_apart
from jax_stepcache.loop.spread import check_spread
from jax_stepcache.meshes.layout import layout_of
from jax_stepcache.models.encoders.programs import film_of
from jax_stepcache.network.offered import in_dtype, in_layout, offered, placed_by_name
from jax_stepcache.network.registry import load_model
from jax_stepcache.options import Options, resolve
from jax_stepcache.sampling import _run, _run_some

from .asks import Ask
from .device import on_a_device, placed, placed_as, whole
from .lowered import Lowered

# Whose latents are decoded by which VAE.
_VAE = {"wan2.2-ti2v-5b": "wan-vae-2.2"}


def film(ask: Ask, mesh: Any) -> Lowered:
    """Makes a program's function and arguments; nothing is allocated.

    Args:
        ask: which; its rows are films, of the release's own size.
        mesh: the devices.

    Returns:
        The program.
    """
    model: Any = load_model(ask.model)
    if ask.program == "decode":
        return _decoded(ask, mesh, model)
    transformer = replace(model.transformer, dtype="bfloat16", attention=ask.attention)
    model = replace(model, release=replace(model.release, transformer=transformer))
    structs = offered(model, "weights_struct")(model)
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), structs)
    high, alone = model.release.experts[0], ask.program == "expert"
    if alone:
        weights, model = {high: weights[high]}, replace(model, alone=high)
    if ask.layers == "apart":
        weights = _apart(weights)
    params = _laid_out(weights, model, mesh, ask.rules)
    model = params.model
    shown = jax.eval_shape(lambda key: model.example(key, ask.rows), jax.random.key(0))
    options = Options(
        observation=placed(mesh, shown),
        noise=placed(mesh, model.noise_struct(ask.rows)),
        cache=None if ask.cache == "none" else ask.cache,
        decide=ask.decide,
    )
    generation = resolve(params, options)
    check_spread(generation)
    experts = model.experts.names
    one = params.weights[experts[0]] if experts else params.weights
    layer = [on_a_device(x) for x in jax.tree.leaves(one["blocks"])]
    stacked = ask.layers == "stacked"
    steps = model.release.num_inference_steps
    function, arguments = _run, (ask.decide, whole(mesh, generation))
    if alone:  # Half of the steps: some number.
        steps //= 2
        function, arguments = _run_some, ((0, steps), None, arguments[1])
    tokens = int(np.prod(model.latent_size)) // int(np.prod(transformer.patch_size))
    return Lowered(
        function,
        arguments,
        model.num_blocks,
        ask.cache != "none",
        frozenset(shape[1:] if stacked else shape for shape in layer),
        frozenset(),
        (tokens, tokens),
        {},
        1,
        steps,
        1 if alone else max(len(experts), 1),
    )


def _laid_out(weights: Any, model: Any, mesh: Any, rules: str | None) -> Params:
    layout = layout_of(mesh, rules)
    if layout is None:
        return Params(placed(mesh, weights), model)
    model = in_layout(model, layout)
    where = placed_by_name(model, layout).shardings(weights)
    return Params(placed_as(weights, where), model)


def _apart(weights: Any) -> Any:
    """One array a layer, of one transformer or of experts by name."""
    if "blocks" in weights:
        return {**weights, "blocks": taken_apart(weights["blocks"])}
    return {name: _apart(one) for name, one in weights.items()}


def _decoded(ask: Ask, mesh: Any, model: Any) -> Lowered:
    """Latents of a film to its frames, whole pictures."""
    vae: Any = in_dtype(load_model(_VAE.get(ask.model, "wan-vae-2.1")), "bfloat16")
    structs = offered(vae, "weights_struct")(vae)
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), structs)
    latents = placed(mesh, model.noise_struct(ask.rows))
    arguments = (vae.config, placed(mesh, weights), latents)
    none = frozenset()
    return Lowered(film_of, arguments, 1, False, none, none, None, {}, 1)

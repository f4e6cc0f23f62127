"""The names that diffusers' checkpoints, and the original's, have for our weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.errors import unknown_name

from ...checkpoints.name_map import imported, recipes, source_shapes
from ...checkpoints.tensors import Table, Tensor, linear, mlp, part, rms_norm, same
from ...sizes.parameters import Weights
from ..network.parameters import weight_shapes
from ..sizes import FluxConfig

NAMINGS = ("diffusers", "original")
"""Who names tensors."""

# Of each there is a tensor that only it has.
_TELLING = {"diffusers": "x_embedder.weight", "original": "img_in.weight"}


def plan(
    config: FluxConfig, naming: str = "diffusers", prefix: str = ""
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the transformer's.
        naming: one of `NAMINGS`.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.

    Raises:
        ValueError: for another naming.
    """
    if naming not in NAMINGS:
        raise ValueError(unknown_name("naming", naming, NAMINGS))
    table = _diffusers(config) if naming == "diffusers" else _original(config)
    return recipes(table, weight_shapes(config), prefix)


def state_dict_shapes(
    config: FluxConfig, naming: str = "diffusers"
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors, without a prefix."""
    return source_shapes(plan(config, naming))


def import_state_dict(config: FluxConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes, cuts and stacks the tensors of a state dict.

    Args:
        config: the transformer's.
        tensors: arrays by diffusers' names or the original's, without prefix.

    Returns:
        Weights, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    naming = naming_of(tensors) or "diffusers"
    return imported(plan(config, naming), tensors)


def naming_of(names: Any) -> str | None:
    """Who named tensors, without prefix; None if it is not FLUX's transformer."""
    return next((who for who, name in _TELLING.items() if name in names), None)


def _exchanged(tensor: Any) -> Any:
    # NumPy's arrays and JAX's alike.
    whole = tensor.reshape(2, -1, *tensor.shape[1:])[::-1]
    return whole.reshape(tensor.shape).T


def _halves(name: str) -> Table:
    """A linear map to scale and shift, which ours has the other way round."""
    return {
        "kernel": Tensor(f"{name}.weight", lambda ours: ours[::-1], _exchanged),
        "bias": Tensor(f"{name}.bias", lambda ours: ours, _exchanged),
    }


def _diffusers(config: FluxConfig) -> Table:
    """Every weight of ours, in our structure, and where it comes from."""
    double = "transformer_blocks.{layer}"
    single = "single_transformer_blocks.{layer}"
    embed = "time_text_embed"

    def embedding(name: str) -> Table:
        return mlp(f"{embed}.{name}_embedder", "linear_1", "linear_2")

    def stream(more: str, qkv: tuple[str, str, str], norms: str, out: str) -> Table:
        q, k, v = (linear(f"{double}.attn.{name}") for name in qkv)
        return {
            "modulation": linear(f"{double}.norm1{more}.linear"),
            "attn": {
                "q": q,
                "k": k,
                "v": v,
                "norm_q": rms_norm(f"{double}.attn.{norms}_q"),
                "norm_k": rms_norm(f"{double}.attn.{norms}_k"),
            },
            "o": linear(f"{double}.attn.{out}"),
            "mlp": mlp(f"{double}.ff{more}", "net.0.proj", "net.2"),
        }

    table = {
        "image_embedding": linear("x_embedder"),
        "text_embedding": linear("context_embedder"),
        "time_embedding": embedding("timestep"),
        "pooled_embedding": embedding("text"),
        "double": {
            "image": stream("", ("to_q", "to_k", "to_v"), "norm", "to_out.0"),
            "text": stream(
                "_context",
                ("add_q_proj", "add_k_proj", "add_v_proj"),
                "norm_added",
                "to_add_out",
            ),
        },
        "single": {
            "modulation": linear(f"{single}.norm.linear"),
            "attn": {
                **{name: linear(f"{single}.attn.to_{name}") for name in "qkv"},
                "norm_q": rms_norm(f"{single}.attn.norm_q"),
                "norm_k": rms_norm(f"{single}.attn.norm_k"),
            },
            "mlp": linear(f"{single}.proj_mlp"),
            "out": linear(f"{single}.proj_out"),
        },
        "modulation": _halves("norm_out.linear"),
        "proj": linear("proj_out"),
    }
    if config.guidance_embeds:
        table["guidance_embedding"] = embedding("guidance")
    return table


def _original(config: FluxConfig) -> Table:
    """The same of the original's tensors."""
    double, single = "double_blocks.{layer}", "single_blocks.{layer}"
    dim, width = config.dim, config.mlp_width

    def embedding(name: str) -> Table:
        return mlp(f"{name}_in", "in_layer", "out_layer")

    def attention(name: str, norms: str, rows: int) -> Table:
        parts = {
            one: part(name, rows, i * dim, (i + 1) * dim) for i, one in enumerate("qkv")
        }
        return {
            **parts,
            "norm_q": {"scale": same(f"{norms}.query_norm.scale")},
            "norm_k": {"scale": same(f"{norms}.key_norm.scale")},
        }

    def stream(who: str) -> Table:
        attn = f"{double}.{who}_attn"
        return {
            "modulation": linear(f"{double}.{who}_mod.lin"),
            "attn": attention(f"{attn}.qkv", f"{attn}.norm", 3 * dim),
            "o": linear(f"{attn}.proj"),
            "mlp": mlp(f"{double}.{who}_mlp", "0", "2"),
        }

    rows = 3 * dim + width
    table = {
        "image_embedding": linear("img_in"),
        "text_embedding": linear("txt_in"),
        "time_embedding": embedding("time"),
        "pooled_embedding": embedding("vector"),
        "double": {"image": stream("img"), "text": stream("txt")},
        "single": {
            "modulation": linear(f"{single}.modulation.lin"),
            "attn": attention(f"{single}.linear1", f"{single}.norm", rows),
            "mlp": part(f"{single}.linear1", rows, 3 * dim, rows),
            "out": linear(f"{single}.linear2"),
        },
        "modulation": linear("final_layer.adaLN_modulation.1"),
        "proj": linear("final_layer.linear"),
    }
    if config.guidance_embeds:
        table["guidance_embedding"] = embedding("guidance")
    return table

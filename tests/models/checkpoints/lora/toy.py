"""The smallest model that takes a LoRA: blocks of one affine map, patches, a head."""

from __future__ import annotations

import json
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from jax_stepcache import Params
from jax_stepcache.models.checkpoints.name_map import recipes, source_shapes
from jax_stepcache.models.checkpoints.tensors import linear, patches
from jax_stepcache.models.layers.linear import Linear
from jax_stepcache.models.layers.stack import run_stack, stacked_blocks
from jax_stepcache.models.sizes.parameters import Parameters

LAYERS, WIDTH, HIDDEN, OUT = 3, 6, 5, 4


class Network(nnx.Module):
    def __init__(self, config, *, rngs):
        self.patch = Linear(8, config.width, rngs=rngs)
        self.blocks = stacked_blocks(lambda keys: Block(config, keys), LAYERS, rngs)
        self.head = Linear(config.width, OUT, rngs=rngs)

    def __call__(self, x):
        graph, layers = nnx.split(self.blocks)

        def block(x, state):
            return nnx.merge(graph, state)(x), None

        return self.head(run_stack(block, self.patch(x), layers)[0])


class Block(nnx.Module):
    def __init__(self, config, rngs):
        self.up = Linear(config.width, HIDDEN, rngs=rngs)
        self.down = Linear(HIDDEN, config.width, rngs=rngs)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(x)))


@dataclass(frozen=True)
class Toy:
    width: int = WIDTH
    name = "toy"


PARAMETERS = Parameters(Network)

# Like Wan's: two ways of naming, one with dots inside a layer's name.
NAMINGS = {
    "diffusers": ("patch_embedding", "blocks.{layer}.net.0.proj", "{b}.net.2", "out"),
    "original": ("patch", "blocks.{layer}.ffn.0", "{b}.ffn.2", "head.head"),
}


def _table(naming):
    patch, first, second, head = NAMINGS[naming]
    embedding = linear(patch)
    embedding["kernel"] = patches(f"{patch}.weight", (2, 1, 2, 2))
    second = second.replace("{b}", "blocks.{layer}")
    return {
        "patch": embedding,
        "blocks": {"up": linear(first), "down": linear(second)},
        "head": linear(head),
    }


def tensor_plans(model, component):
    shapes = PARAMETERS.shapes(model)
    return tuple(recipes(_table(naming), shapes) for naming in NAMINGS)


def shapes_of(naming, model=None):
    plans = dict(zip(NAMINGS, tensor_plans(model or Toy(), None), strict=True))
    return source_shapes(plans[naming])


def params_of(seed=0):
    drawn = PARAMETERS.init(Toy(), jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return Params(
        jax.tree.map(
            lambda x: jax.numpy.asarray(rng.standard_normal(x.shape), x.dtype), drawn
        ),
        Toy(),
    )


def run(params, x):
    return PARAMETERS.bind(params.model, params.weights)(x)


def write(path, tensors, metadata=None):
    said = None if metadata is None else {"lora_adapter_metadata": json.dumps(metadata)}
    save_file(tensors, path, said)
    return path

"""Small networks of the structure of other people's, and none of their code.

`WanLike` is as MaxDiffusion's WanModel (NNX; blocks in a list or scanned, each under
remat; can skip all blocks and add a residual), `DiTLike` as FlaxDiff's SimpleDiT
(Linen; blocks by name, keyword arguments), `Pi0Like` as openpi's Pi0 (a Linen
transformer of two experts in an NNX module, scanned under remat, with the prefix's
keys and values), `TwoStreams` as FLUX's (double blocks that return tuples, then single
ones).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.nnx import bridge

DIM, CHANNELS, TOKENS, DEPTH = 8, 3, 4, 3


def noise(batch: int = 2) -> jax.Array:
    draw = np.random.default_rng(5).normal
    return jnp.asarray(draw(size=(batch, TOKENS, CHANNELS)), jnp.float32)


def text(batch: int = 2) -> jax.Array:
    draw = np.random.default_rng(6).normal
    return jnp.asarray(draw(size=(batch, DIM)), jnp.float32)


def modulation(ada: Any, temb: jax.Array) -> Any:
    return jnp.split(ada(temb)[:, None], 2, -1)


class WanBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.ada = nnx.Linear(DIM, 2 * DIM, rngs=rngs)
        self.attn1 = nnx.Linear(DIM, DIM, rngs=rngs)

    def __call__(self, hidden: Any, text: Any, temb: Any, deterministic: bool) -> Any:
        del deterministic
        scale, shift = modulation(self.ada, temb)
        seen = hidden * (1 + scale) + shift
        return hidden + jnp.tanh(self.attn1(hidden_states=seen)) + text[:, None] / 9


class Attention(nnx.Linear):
    """Called by keywords, as theirs."""

    def __call__(self, hidden_states: jax.Array) -> jax.Array:  # pyright: ignore
        return super().__call__(hidden_states)


class WanLike(nnx.Module):
    def __init__(
        self, rngs: nnx.Rngs, scan_layers: bool = False, depth: int = DEPTH
    ) -> None:
        self.patch_embedding = nnx.Linear(CHANNELS, DIM, rngs=rngs)
        self.time = nnx.Linear(1, DIM, rngs=rngs)
        self.proj_out = nnx.Linear(DIM, CHANNELS, rngs=rngs)
        self.scan_layers, self.num_layers = scan_layers, depth

        def block(rngs: nnx.Rngs) -> WanBlock:
            made = WanBlock(rngs)
            made.attn1 = Attention(DIM, DIM, rngs=rngs)
            return made

        if scan_layers:
            many = nnx.vmap(block, in_axes=0, out_axes=0)
            self.blocks = nnx.split_rngs(splits=depth)(many)(rngs)
        else:
            self.blocks = nnx.List([block(rngs) for _ in range(depth)])

    def embedded(self, hidden_states: jax.Array, timestep: jax.Array) -> Any:
        hidden = self.patch_embedding(hidden_states)
        return hidden, nnx.silu(self.time(timestep[:, None] / 1000))

    def __call__(
        self,
        hidden_states: jax.Array,
        timestep: jax.Array,
        encoder_hidden_states: jax.Array,
        deterministic: bool = True,
        rngs: nnx.Rngs | None = None,
        skip_blocks: bool | None = None,
        cached_residual: jax.Array | None = None,
        return_residual: bool = False,
    ) -> Any:
        hidden, temb = self.embedded(hidden_states, timestep)
        before = hidden
        if skip_blocks:
            hidden = hidden + cached_residual
        elif self.scan_layers:

            def forward(carry: Any, block: Any) -> Any:
                hidden, rngs = carry
                hidden = block(hidden, encoder_hidden_states, temb, deterministic)
                return (hidden, rngs), None

            axes = (nnx.Carry, 0)
            scan = nnx.scan(
                nnx.remat(forward), length=self.num_layers, in_axes=axes, out_axes=axes
            )
            (hidden, _), _ = scan((hidden, rngs), self.blocks)
        else:
            for block in self.blocks:

                def layer(hidden: jax.Array, block: Any = block) -> jax.Array:
                    return block(hidden, encoder_hidden_states, temb, deterministic)

                hidden = jax.checkpoint(layer)(hidden)
        said = self.proj_out(hidden + temb[:, None])
        return (said, hidden - before) if return_residual else said


class DiTBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Any, conditioning: Any, freqs_cis: Any) -> Any:
        scale, shift = modulation(nn.Dense(2 * DIM, name="ada"), conditioning)
        attention = nn.Dense(DIM, name="attention")
        turned = attention(x * (1 + scale) + shift) * freqs_cis[0] + freqs_cis[1]
        return x + jnp.tanh(turned)


class DiTLike(nn.Module):
    num_layers: int = DEPTH

    def setup(self) -> None:
        self.patch_embed = nn.Dense(DIM)
        self.time_embed = nn.Sequential([nn.Dense(DIM), nn.silu])
        self.blocks = [DiTBlock(name=f"dit_block_{i}") for i in range(self.num_layers)]
        self.final_proj = nn.Dense(CHANNELS, name="final_proj")

    def __call__(self, x: Any, temb: Any, textcontext: Any = None) -> Any:
        x = self.patch_embed(x)
        conditioning = self.time_embed(temb[:, None]) + textcontext
        angles = jnp.arange(TOKENS * DIM).reshape(TOKENS, DIM) / 9
        for block in self.blocks:
            freqs = (jnp.cos(angles), jnp.sin(angles))
            x = block(x, conditioning=conditioning, freqs_cis=freqs)
        return self.final_proj(x)


class GemmaBlock(nn.Module):
    @nn.compact
    def __call__(
        self,
        xs: Any,
        kv_cache: Any,
        positions: Any,
        mask: Any,
        deterministic: bool = True,
    ) -> Any:
        del deterministic
        expert = 0 if xs[1] is None else 1
        x = xs[expert] + jnp.sin(positions[..., None])
        q, k, v = (nn.Dense(DIM, name=f"{name}_{expert}")(x) for name in "qkv")
        if kv_cache is not None:
            k = jnp.concatenate([kv_cache[0], k], 1)
            v = jnp.concatenate([kv_cache[1], v], 1)
        logits = jnp.where(mask[:, 0], q @ k.swapaxes(1, 2), -1e9)
        x = xs[expert] + jnp.tanh(jax.nn.softmax(logits, -1) @ v)
        return [None if y is None else x for y in xs], (k, v)


class Gemma(nn.Module):
    depth: int = DEPTH

    def setup(self) -> None:
        block = nn.remat(GemmaBlock, prevent_cse=False, static_argnums=(5,))
        self.layers = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.depth,
        )()

    def __call__(
        self,
        embedded: Any,
        positions: Any,
        mask: Any,
        *,
        kv_cache: Any = None,
        adarms_cond: Any = None,
    ) -> Any:
        del adarms_cond
        return self.layers(embedded, kv_cache, positions, mask[:, None], True)

    def init(self) -> None:  # pyright: ignore
        token = jnp.zeros((1, 1, DIM))
        place, seen = jnp.zeros((1, 1), int), jnp.ones((1, 1, 1), bool)
        self([token, None], place, seen)
        self([None, token], place, seen)


class Pi0Like(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        llm: Any = bridge.ToNNX(Gemma())
        llm.lazy_init(rngs=rngs, method="init")
        self.PaliGemma = nnx.Dict(llm=llm)
        self.action_in_proj = nnx.Linear(CHANNELS, DIM, rngs=rngs)
        self.time_mlp = nnx.Linear(DIM, DIM, rngs=rngs)
        self.action_out_proj = nnx.Linear(DIM, CHANNELS, rngs=rngs)
        self.action_horizon = TOKENS

    def embed_prefix(self, observation: Any) -> Any:
        """Tokens, which of them there are, and where attention begins anew."""
        tokens, mask = observation
        return tokens, mask, jnp.zeros(tokens.shape[1], bool)

    def embed_suffix(self, observation: Any, actions: Any, time: Any) -> Any:
        """The same of the actions, and what modulates; time is 1 at noise."""
        del observation
        waves = jnp.sin(time[:, None, None] * jnp.arange(1.0, DIM + 1))
        tokens = self.action_in_proj(actions) + nnx.swish(self.time_mlp(waves))
        begins = jnp.arange(tokens.shape[1]) == 0
        return tokens, jnp.ones(tokens.shape[:2], bool), begins, None

    def sample_actions(
        self, rng: Any, observation: Any, *, num_steps: int = 10, noise: Any
    ) -> Any:
        """The whole loop, with keys and values of the prefix made once."""
        del rng
        dt, llm = -1.0 / num_steps, self.PaliGemma.llm
        tokens, mask, begins = self.embed_prefix(observation)
        seen, places = make_attn_mask(mask, begins), jnp.cumsum(mask, axis=1) - 1
        _, cache = llm([tokens, None], mask=seen, positions=places)

        def step(carry: Any) -> Any:
            actions, time = carry
            times = jnp.broadcast_to(time, len(mask))
            tokens, own, own_begins, modulation = self.embed_suffix(
                observation, actions, times
            )
            both = jnp.concatenate([mask, own], axis=1)
            seen = make_attn_mask(both, jnp.concatenate([begins, own_begins]))
            places = jnp.cumsum(both, axis=1) - 1
            (_, out), _ = llm(
                [None, tokens],
                mask=seen[:, mask.shape[1] :],
                positions=places[:, mask.shape[1] :],
                kv_cache=cache,
                adarms_cond=[None, modulation],
            )
            velocity = self.action_out_proj(out[:, -self.action_horizon :])
            return actions + dt * velocity, time + dt

        def goes_on(carry: Any) -> Any:
            return carry[1] >= -dt / 2

        return jax.lax.while_loop(goes_on, step, (noise, 1.0))[0]


def make_attn_mask(mask: jax.Array, begins: jax.Array) -> jax.Array:
    """Tokens see those of their own part and of the parts before."""
    part = jnp.broadcast_to(jnp.cumsum(begins), mask.shape)
    seen = part[:, None] <= part[:, :, None]
    return seen & mask[:, None] & mask[:, :, None]


class DoubleBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.image = nnx.Linear(DIM, DIM, rngs=rngs)
        self.words = nnx.Linear(DIM, DIM, rngs=rngs)

    def __call__(self, *, image: Any, words: Any, temb: Any) -> Any:
        both = jnp.concatenate([words, image], 1).mean(1, keepdims=True)
        both = both + temb[:, None]
        return (
            words + jnp.tanh(self.words(words + both)),
            image + jnp.tanh(self.image(image + both)),
        )


class SingleBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(DIM, DIM, rngs=rngs)

    def __call__(self, x: Any, temb: Any) -> Any:
        return x + jnp.tanh(self.inner(x + temb[:, None]))


class TwoStreams(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.image_in = nnx.Linear(CHANNELS, DIM, rngs=rngs)
        self.words_in = nnx.Linear(DIM, DIM, rngs=rngs)
        self.time = nnx.Linear(1, DIM, rngs=rngs)
        self.out = nnx.Linear(DIM, CHANNELS, rngs=rngs)
        self.double = nnx.List([DoubleBlock(rngs) for _ in range(2)])
        self.single = nnx.List([SingleBlock(rngs) for _ in range(2)])

    def __call__(self, x: Any, t: Any, condition: Any) -> Any:
        image, temb = self.image_in(x), nnx.silu(self.time(t[:, None] / 1000))
        words = jnp.stack([self.words_in(condition), condition], 1)
        for block in self.double:
            words, image = block(image=image, words=words, temb=temb)
        joined = jnp.concatenate([words, image], 1)
        for block in self.single:
            joined = block(joined, temb)
        return self.out(joined[:, words.shape[1] :])


class TwoStacks(TwoStreams):
    """The same with the blocks of each list stacked and scanned over."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(rngs)
        for name, kind in (("double", DoubleBlock), ("single", SingleBlock)):
            many = nnx.vmap(kind, in_axes=0, out_axes=0)
            setattr(self, name, nnx.split_rngs(splits=2)(many)(rngs))

    def __call__(self, x: Any, t: Any, condition: Any) -> Any:
        image, temb = self.image_in(x), nnx.silu(self.time(t[:, None] / 1000))
        words = jnp.stack([self.words_in(condition), condition], 1)

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def both(carry: Any, block: Any) -> Any:
            return block(image=carry[1], words=carry[0], temb=temb)

        words, image = both((words, image), self.double)
        joined = jnp.concatenate([words, image], 1)

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def one(carry: Any, block: Any) -> Any:
            return block(carry, temb)

        return self.out(one(joined, self.single)[:, words.shape[1] :])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear:
    """As Equinox has them: a pytree of its arrays, called on one sample."""

    weight: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PytreeBlock:
    ada: Linear
    attention: Linear

    def __call__(self, x: jax.Array, temb: jax.Array) -> jax.Array:
        scale, shift = jnp.split(self.ada(temb), 2, -1)
        return x + jnp.tanh(self.attention(x * (1 + scale) + shift))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PytreeLike:
    inward: Linear
    time: Linear
    outward: Linear
    layers: tuple[PytreeBlock, ...]
    activation: Callable[[jax.Array], jax.Array] = jax.nn.silu

    def __call__(self, x: jax.Array, t: jax.Array, condition: jax.Array) -> jax.Array:
        temb = self.activation(self.time(t[None] / 1000))
        x = self.inward(x) + condition
        for layer in self.layers:
            x = layer(x, temb)
        return self.outward(x + temb)


def pytree_like() -> PytreeLike:
    draw = np.random.default_rng(7).normal

    def linear(*shape: int) -> Linear:
        return Linear(jnp.asarray(draw(size=shape) / 3, jnp.float32))

    layers = [PytreeBlock(linear(DIM, 2 * DIM), linear(DIM, DIM)) for _ in range(DEPTH)]
    return PytreeLike(
        linear(CHANNELS, DIM), linear(1, DIM), linear(DIM, CHANNELS), tuple(layers)
    )


def function_like(weights: Any, x: Any, t: Any, condition: Any) -> Any:
    """A function that scans over stacked weights."""
    temb = jax.nn.silu(t[:, None] / 1000 * weights["time"])
    x = x @ weights["in"] + condition[:, None]

    def layer(x: jax.Array, w: Any) -> tuple[jax.Array, None]:
        scale, shift = jnp.split((temb @ w["ada"])[:, None], 2, -1)
        return x + jnp.tanh((x * (1 + scale) + shift) @ w["attention"]), None

    x, _ = jax.lax.scan(layer, x, weights["layers"])
    return (x + temb[:, None]) @ weights["out"]


def function_weights() -> dict[str, Any]:
    draw = np.random.default_rng(8).normal
    shapes = {
        "in": (CHANNELS, DIM),
        "time": (DIM,),
        "out": (DIM, CHANNELS),
        "layers": {"ada": (DEPTH, DIM, 2 * DIM), "attention": (DEPTH, DIM, DIM)},
    }
    return jax.tree.map(
        lambda s: jnp.asarray(draw(size=s) / 3, jnp.float32),
        shapes,
        is_leaf=lambda s: isinstance(s, tuple),
    )

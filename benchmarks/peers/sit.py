"""SiT's transformer in PyTorch, with the names of its published checkpoints."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import contract
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES, EPS = 256, 1e-6


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised tokens, scaled and shifted."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


class Attention(nn.Module):
    """All tokens to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(contract.DIM, 3 * contract.DIM)
        self.proj = nn.Linear(contract.DIM, contract.DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (B, S, D) to as many."""
        rows, tokens, dim = x.shape
        heads = self.qkv(x).reshape(rows, tokens, 3, contract.HEADS, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.proj(seen.transpose(1, 2).reshape(rows, tokens, dim))


class FeedForward(nn.Module):
    """Four times as wide inside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(contract.DIM, 4 * contract.DIM)
        self.fc2 = nn.Linear(4 * contract.DIM, contract.DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens to as many."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Self-attention and feed-forward, modulated and gated."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.mlp = FeedForward()
        self.adaLN_modulation = nn.Sequential(
            nn.SiLU(), nn.Linear(contract.DIM, 6 * contract.DIM)
        )

    def forward(self, hidden_states: Tensor, c: Tensor) -> Tensor:
        """Maps tokens, under a condition (B, D); hooks know the tokens by the name."""
        x = hidden_states
        said = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = said
        x = x + gate1 * self.attn(modulated(x, shift1, scale1))
        return x + gate2 * self.mlp(modulated(x, shift2, scale2))


class Head(nn.Module):
    """Tokens to patches of velocity."""

    def __init__(self) -> None:
        super().__init__()
        values = contract.PATCH**2 * contract.CHANNELS
        self.adaLN_modulation = nn.Sequential(
            nn.SiLU(), nn.Linear(contract.DIM, 2 * contract.DIM)
        )
        self.linear = nn.Linear(contract.DIM, values)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Maps tokens, under a condition."""
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        return self.linear(modulated(x, shift, scale))


class SiT(nn.Module):
    """The whole network; samples have their channels last, as this library's have."""

    def __init__(self) -> None:
        super().__init__()
        dim, patch = contract.DIM, contract.PATCH
        self.x_embedder = nn.ModuleDict(
            {"proj": nn.Conv2d(contract.CHANNELS, dim, patch, patch)}
        )
        self.t_embedder = nn.ModuleDict(
            {
                "mlp": nn.Sequential(
                    nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim)
                )
            }
        )
        self.y_embedder = nn.ModuleDict(
            {"embedding_table": nn.Embedding(contract.CLASSES + 1, dim)}
        )
        self.blocks = nn.ModuleList(Block() for _ in range(contract.DEPTH))
        self.final_layer = Head()
        half = FREQUENCIES // 2
        frequencies = 1e4 ** (-torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.register_buffer("where", positions(), persistent=False)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """Predicts the velocity, noise minus data, like x (B, H, W, C)."""
        angles = (1 - t / 1000)[:, None] * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        c = self.t_embedder["mlp"](waves) + self.y_embedder["embedding_table"](label)
        tokens = self.x_embedder["proj"](x.permute(0, 3, 1, 2))
        hidden_states = tokens.flatten(2).transpose(1, 2) + self.where
        for block in self.blocks:
            hidden_states = block(hidden_states, c)
        patches = self.final_layer(hidden_states, c)
        side, p = contract.GRID, contract.PATCH
        patches = patches.reshape(-1, side, side, p, p, contract.CHANNELS)
        return -patches.transpose(2, 3).reshape(x.shape)


def positions() -> Tensor:
    """Sines and cosines of each token's column and row, (tokens, D)."""
    quarter = contract.DIM // 4
    frequencies = 1e4 ** (-np.arange(quarter) / quarter)
    row, column = np.divmod(np.arange(contract.GRID**2), contract.GRID)
    angles = [place[:, None] * frequencies for place in (column, row)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(waves, axis=1).astype(np.float32))


def network(given: contract.Given, kind: type[SiT] = SiT) -> SiT:
    """The network with the weights that all contenders have."""
    made = kind()
    weights = {name: torch.from_numpy(x) for name, x in given.weights.items()}
    made.load_state_dict(weights, strict=True)
    return made.eval()


class Sampler:
    """Euler's method around a network.

    Attributes:
        given: what is sampled.
        ask: ``(sample, t, label) -> velocity``.
    """

    def __init__(self, given: contract.Given, ask: Callable[..., Tensor]) -> None:
        self.given, self.ask = given, ask
        self.noise = torch.from_numpy(given.noise)
        self.label = torch.tensor([contract.LABEL])
        self.t = torch.from_numpy(given.timesteps)[:, None]

    @torch.inference_mode()
    def call(self) -> np.ndarray:
        """One answer of the network."""
        return self.ask(self.noise, self.t[0], self.label).numpy()

    @torch.inference_mode()
    def run(self, velocity: Any = None) -> np.ndarray:
        """A sample; velocities are the network's, or of a function of step and x."""
        x = self.noise
        for i in range(contract.NUM_STEPS):
            if velocity is None:
                said = self.ask(x, self.t[i], self.label)
            else:
                said = velocity(i, x)
            x = x + float(self.given.sigmas[i + 1] - self.given.sigmas[i]) * said
        return x.numpy()

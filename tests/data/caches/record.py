"""Records what cache-dit's calibrators and diffusers' CFG-Cache make of a toy.

In an environment of its own, with PyTorch for a CPU: ``pip install torch
diffusers==0.42.1 cache-dit==1.5.3``, and ``python tests/data/caches/record.py``. The
toy and the arrays are those of the files that lie here already
(`tests/parity/toy.py`), only smaller. Of CFG-Cache, which is around the network, the
runs lie in ``guidance/`` beside this folder.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cache_dit
import diffusers
import numpy as np
import torch
from cache_dit import (
    BlockAdapter,
    DBCacheConfig,
    DMDCalibratorConfig,
    FoCaCalibratorConfig,
    ForwardPattern,
)
from diffusers.hooks import HookRegistry
from diffusers.hooks.faster_cache import FasterCacheDenoiserHook

DIMS = {"D": 8, "T": 5, "C": 3, "L": 3, "TD": 8}
LN_EPS = 1e-6

# Settings, under vLLM-Omni's names where it has them; steps; guidance scale.
CASES: dict[str, tuple[dict[str, Any], int, float]] = {
    "foca": (
        {
            "calibrator_type": "foca",
            "residual_diff_threshold": 0.25,
            "max_warmup_steps": 2,
            "max_continuous_cached_steps": 5,
        },
        20,
        1.0,
    ),
    "foca_cfg": (
        {
            "calibrator_type": "foca",
            "residual_diff_threshold": 0.2,
            "max_warmup_steps": 3,
            "Bn_compute_blocks": 1,
        },
        16,
        2.0,
    ),
    "dmd": (
        {
            "calibrator_type": "dmd",
            "residual_diff_threshold": 0.2,
            "max_warmup_steps": 5,
        },
        24,
        1.0,
    ),
    # A mask with even gaps, over which the fit goes by parts of its spacing.
    "dmd_even": (
        {
            "calibrator_type": "dmd",
            "dmd_history": 5,
            "steps_computation_mask": [i < 4 or i % 3 == 0 for i in range(28)],
            "steps_computation_policy": "static",
        },
        28,
        1.0,
    ),
    "dmd_rank2_cfg": (
        {
            "calibrator_type": "dmd",
            "dmd_rank": 2,
            "residual_diff_threshold": 0.15,
            "max_warmup_steps": 4,
        },
        16,
        2.0,
    ),
}


# Steps, skip range, timestep skip range; how tokens lie, and weights of low and high
# frequencies with the timesteps between which they hold.
GUIDED: dict[str, dict[str, Any]] = {
    "default": {"steps": 20, "every": 5, "between": (-1, 641)},
    "early": {"steps": 16, "every": 3, "between": (300, 950)},
    "weights": {
        "steps": 20,
        "every": 5,
        "between": (-1, 941),
        "layout": (6, 5),
        "alphas": (1.1, 0.8),
        "ranges": ((99, 901), (-1, 501)),
    },
}


class Block(torch.nn.Module):
    """One block: modulated by time, then a residual."""

    def __init__(self, weights: dict[str, torch.Tensor], layer: int) -> None:
        super().__init__()
        self.parts = {n: weights[n][layer] for n in ("Wsc", "Wsh", "W1", "W2")}

    def forward(self, hidden_states: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        part = self.parts
        u = layer_norm(hidden_states) * (1 + e @ part["Wsc"]) + e @ part["Wsh"]
        return hidden_states + torch.tanh(u @ part["W1"]) @ part["W2"]


class Toy(torch.nn.Module):
    """The toy; see the README of the folder."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.weights = weights
        blocks = [Block(weights, layer) for layer in range(len(weights["W1"]))]
        self.transformer_blocks = torch.nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor, t: torch.Tensor, branch: int) -> torch.Tensor:
        w = self.weights
        h = x @ w["We"] + w["pos"]
        angles = t * w["freqs"]
        features = torch.cat([torch.cos(angles), torch.sin(angles)])[None]
        e = torch.nn.functional.silu(features @ w["Wt1"] + w["bt1"])
        e = (e @ w["Wt2"] + w["bt2"] + w["cond"][branch])[:, None]
        return layer_norm(self.through(h, e)) @ w["Wh"]

    def through(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """Goes through the blocks."""
        for block in self.transformer_blocks:
            h = block(h, e)
        return h


def layer_norm(h: torch.Tensor) -> torch.Tensor:
    """Without parameters."""
    return torch.nn.functional.layer_norm(h, h.shape[-1:], eps=LN_EPS)


def drawn(seed: int, dims: dict[str, int] = DIMS) -> dict[str, np.ndarray]:
    """Weights of a toy whose blocks change smoothly over the steps."""
    draw = np.random.default_rng(seed)
    d, t, c, layers, time = (dims[name] for name in ("D", "T", "C", "L", "TD"))

    def normal(*shape: int, scale: float) -> np.ndarray:
        return (draw.normal(size=shape) * scale).astype(np.float32)

    return {
        "We": normal(c, d, scale=c**-0.5),
        "pos": normal(t, d, scale=0.3),
        "freqs": (0.003 * np.geomspace(1, 0.05, time // 2)).astype(np.float32),
        "Wt1": normal(time, d, scale=time**-0.5),
        "bt1": normal(d, scale=0.1),
        "Wt2": normal(d, d, scale=d**-0.5),
        "bt2": normal(d, scale=0.1),
        "Wsc": normal(layers, d, d, scale=0.5 * d**-0.5),
        "Wsh": normal(layers, d, d, scale=0.5 * d**-0.5),
        "W1": normal(layers, d, d, scale=d**-0.5),
        "W2": normal(layers, d, d, scale=0.5 * d**-0.5),
        "Wh": normal(d, c, scale=d**-0.5),
        "cond": normal(2, d, scale=0.5),
    }


def wrapped(toy: Toy, settings: dict[str, Any], steps: int, guided: bool) -> Any:
    """The toy with cache-dit's blocks in it."""
    calibrator: Any = FoCaCalibratorConfig(enable_encoder_calibrator=False)
    if settings["calibrator_type"] == "dmd":
        kept = {k: x for k, x in settings.items() if k.startswith("dmd_")}
        calibrator = DMDCalibratorConfig(enable_encoder_calibrator=False, **kept)
    base = {"Fn_compute_blocks": 1, "Bn_compute_blocks": 0, "max_warmup_steps": 4}
    base |= {"max_cached_steps": -1, "max_continuous_cached_steps": 3}
    own = {k: x for k, x in settings.items() if not k.startswith(("dmd", "calib"))}
    if "steps_computation_mask" in own:
        own["steps_computation_mask"] = [int(x) for x in own["steps_computation_mask"]]
    config = DBCacheConfig(
        **{"residual_diff_threshold": 0.24, **base, **own},
        enable_separate_cfg=guided,
        num_inference_steps=steps,
    )
    adapter = BlockAdapter(
        transformer=toy,
        blocks=toy.transformer_blocks,
        forward_pattern=ForwardPattern.Pattern_3,
        check_forward_pattern=False,
        check_num_outputs=False,
    )
    cache_dit.enable_cache(adapter, cache_config=config, calibrator_config=calibrator)
    return toy


def record(name: str, seed: int) -> dict[str, Any]:
    """One generation under a cache, by Euler steps."""
    settings, steps, scale = CASES[name]
    weights = drawn(seed)
    guided = scale != 1
    toy = Toy({key: torch.from_numpy(x) for key, x in weights.items()})
    toy = wrapped(toy, settings, steps, guided)
    grid = np.linspace(1, 0, steps + 1)
    sigma = (3 * grid / (1 + 2 * grid)).astype(np.float32)
    draw = np.random.default_rng(seed + 1)
    x = draw.normal(size=(2, DIMS["T"], DIMS["C"])).astype(np.float32)
    samples, velocities = [torch.from_numpy(x)], []
    with torch.no_grad():
        for i in range(steps):
            t = torch.tensor(sigma[i] * np.float32(1000))
            said = [toy(samples[-1], t, branch) for branch in range(1 + guided)]
            v = said[1] + scale * (said[0] - said[1]) if guided else said[0]
            velocities.append(v)
            samples.append(samples[-1] + float(sigma[i + 1] - sigma[i]) * v)
    context = next(iter(toy._context_manager._cached_context_manager.values()))
    cached = [context.get_cached_steps(), context.get_cfg_cached_steps()]
    diffs = [context.get_residual_diffs(), context.get_cfg_residual_diffs()]
    computed = np.array([[i not in c for c in cached] for i in range(steps)])
    each = range(steps)
    signal = np.array([[float(d.get(str(i), np.nan)) for d in diffs] for i in each])
    if not guided:
        computed, signal = computed[:, 0], signal[:, 0]
    db = {
        key: [bool(one) for one in x] if isinstance(x, list) else x
        for key, x in settings.items()
    }
    config = {
        "impl": "dbcache",
        "case": name,
        "via": f"cache_dit {cache_dit.__version__}",
        "N": steps,
        "B": 2,
        "db": db,
        "seed": seed,
        "dims": DIMS,
        "ln_eps": LN_EPS,
        **({"cfg_scale": scale} if guided else {}),
    }
    return {
        "config": json.dumps(config),
        "sigma": sigma,
        **{f"weights/{key}": w for key, w in weights.items()},
        "x": np.stack(samples),
        "velocity": np.stack(velocities),
        "computed": computed,
        "signal": signal,
    }


class Stacked(torch.nn.Module):
    """The toy as diffusers calls it: both branches at once, the unconditional first."""

    def __init__(self, toy: Toy) -> None:
        super().__init__()
        self.toy, self.asked = toy, []

    def forward(
        self, *, hidden_states: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        tokens = hidden_states.flatten(2).transpose(1, 2)
        halves = tokens.split(2)
        self.asked.append(len(halves))
        first = len(halves) - 1
        said = [self.toy(x, timestep[0], first - i) for i, x in enumerate(halves)]
        return torch.cat(said).transpose(1, 2).reshape(hidden_states.shape)


def weighing(case: dict[str, Any]) -> dict[str, Any]:
    """Settings of the weights of frequencies, in diffusers' words, and the layout."""
    if "alphas" not in case:
        return {}
    low, high = case["ranges"]
    return {
        "alpha_low_frequency": case["alphas"][0],
        "alpha_high_frequency": case["alphas"][1],
        "low_frequency_weight_update_timestep_range": low,
        "high_frequency_weight_update_timestep_range": high,
        "layout": case["layout"],
    }


def record_guided(name: str, seed: int) -> dict[str, Any]:
    """One guided generation under CFG-Cache, by Euler steps."""
    case = GUIDED[name]
    steps, every, between = case["steps"], case["every"], case["between"]
    layout = case.get("layout", (DIMS["T"], 1))
    dims = {**DIMS, "T": layout[0] * layout[1]}
    weights, scale, now = drawn(seed, dims), 2.0, [0.0]

    def weight(which: int) -> Any:
        low, high = case.get("ranges", ((0, 0), (0, 0)))[which]
        alpha = case.get("alphas", (1.0, 1.0))[which]
        return lambda module: alpha if low < now[0] < high else 1.0

    stacked = Stacked(Toy({key: torch.from_numpy(x) for key, x in weights.items()}))
    hook = FasterCacheDenoiserHook(
        every,
        between,
        "BCHW",
        False,
        ["hidden_states", "timestep"],
        lambda: now[0],
        weight(0),
        weight(1),
    )
    HookRegistry.check_if_exists_or_initialize(stacked).register_hook(hook, "cfg")
    grid = np.linspace(1, 0, steps + 1)
    sigma = (3 * grid / (1 + 2 * grid)).astype(np.float32)
    draw = np.random.default_rng(seed + 1)
    x = draw.normal(size=(2, dims["T"], dims["C"])).astype(np.float32)
    samples, velocities = [torch.from_numpy(x)], []
    with torch.no_grad():
        for i in range(steps):
            now[0] = int(sigma[i] * np.float32(1000))
            t = torch.tensor(sigma[i] * np.float32(1000)).repeat(4)
            both = torch.cat([samples[-1]] * 2).transpose(1, 2)
            both = both.reshape(4, -1, *layout)
            said = stacked(hidden_states=both, timestep=t)
            said = said.flatten(2).transpose(1, 2)
            other, first = said.split(2)
            v = other + scale * (first - other)
            velocities.append(v)
            samples.append(samples[-1] + float(sigma[i + 1] - sigma[i]) * v)
    config = {
        "impl": "cfgcache",
        "case": name,
        "via": f"diffusers {diffusers.__version__}",
        "N": steps,
        "B": 2,
        "unconditional_batch_skip_range": every,
        "unconditional_batch_timestep_skip_range": between,
        **weighing(case),
        "seed": seed,
        "dims": dims,
        "ln_eps": LN_EPS,
        "cfg_scale": scale,
    }
    computed = np.array([[True, asked == 2] for asked in stacked.asked])
    return {
        "config": json.dumps(config),
        "sigma": sigma,
        **{f"weights/{key}": w for key, w in weights.items()},
        "x": np.stack(samples),
        "velocity": np.stack(velocities),
        "computed": computed,
    }


def main() -> None:
    """Writes a file for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().out
    for seed, name in enumerate(CASES):
        arrays = record(name, 100 + seed)
        np.savez_compressed(folder / f"dbcache_{name}.npz", **arrays)
        print(name, arrays["computed"].astype(int).tolist())
    beside = folder.parent / "guidance"
    beside.mkdir(exist_ok=True)
    for seed, name in enumerate(GUIDED):
        arrays = record_guided(name, 200 + seed)
        np.savez_compressed(beside / f"cfgcache_{name}.npz", **arrays)
        print(name, arrays["computed"].astype(int).tolist())


if __name__ == "__main__":
    main()

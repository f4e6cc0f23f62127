"""Records what cache-dit's DBPrune makes of a toy, in ``pruning/`` beside this folder.

Blocks hand the embedded time on as encoder states, which stay as they are: cache-dit
1.5.3's DBPrune fails for blocks without any (`_process_block_outputs` is given one
argument too many). As `record.py`, and with the same environment: ``python
tests/data/caches/record_pruning.py``. ``computed`` and ``signal`` have a last axis of
the blocks that may be skipped, in the order of the network; a change is NaN where none
was compared, and -1 where a block was skipped without comparing.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cache_dit
import numpy as np
import torch
from cache_dit import BlockAdapter, DBPruneConfig, ForwardPattern
from cache_dit import TaylorSeerCalibratorConfig as TaylorSeer
from cache_dit.caching.cache_blocks.pattern_base import PrunedBlocks_Pattern_Base
from record import DIMS, LN_EPS, Block, Toy, drawn

PRUNED_DIMS = {**DIMS, "L": 7}

# Settings, under cache-dit's names but for TaylorSeer; steps; guidance scale.
CASES: dict[str, tuple[dict[str, Any], int, float]] = {
    "plain": (
        {
            "residual_diff_threshold": 0.07,
            "max_warmup_steps": 3,
            "max_continuous_cached_steps": 2,
        },
        20,
        1.0,
    ),
    "dynamic": (
        {
            "residual_diff_threshold": 0.06,
            "max_warmup_steps": 2,
            "max_continuous_cached_steps": -1,
            "enable_dynamic_prune_threshold": True,
            "Bn_compute_blocks": 1,
            "non_prune_block_ids": [3],
        },
        20,
        1.0,
    ),
    # The threshold may rise up to a bound of its own.
    "dynamic_bound": (
        {
            "residual_diff_threshold": 0.04,
            "max_warmup_steps": 4,
            "warmup_interval": 2,
            "max_continuous_cached_steps": -1,
            "enable_dynamic_prune_threshold": True,
            "max_dynamic_prune_threshold": 0.2,
            "dynamic_prune_threshold_relax_ratio": 1.1,
        },
        16,
        1.0,
    ),
    "guided": (
        {
            "residual_diff_threshold": 0.065,
            "max_warmup_steps": 2,
            "max_cached_steps": 8,
        },
        16,
        2.0,
    ),
    "always_taylor": (
        {
            "residual_diff_threshold": 1.0,
            "max_warmup_steps": 3,
            "max_continuous_cached_steps": 2,
            "enable_taylorseer": True,
        },
        16,
        1.0,
    ),
    "mask": (
        {
            "residual_diff_threshold": 0.09,
            "max_warmup_steps": 2,
            "steps_computation_mask": [i < 4 or i % 4 == 0 for i in range(16)],
            "steps_computation_policy": "dynamic",
        },
        16,
        1.0,
    ),
}

# Of the step that is under way: of each block that was asked about, whether it was
# skipped, and its change.
_asked: list[tuple[bool, float]] = []
_maybe_prune = PrunedBlocks_Pattern_Base._maybe_prune


def _listening(self: Any, block: int, *args: Any, **kwargs: Any) -> bool:
    context = self.context_manager.get_context()
    separate = context.is_separate_cfg_step()
    diffs = context.cfg_residual_diffs if separate else context.residual_diffs
    step = str(context.get_current_step())
    before = len(diffs.get(step, []))
    pruned = _maybe_prune(self, block, *args, **kwargs)
    if not self._skip_prune(block):
        new = diffs.get(step, [])[before:]
        _asked.append((pruned, float(new[0]) if new else float("nan")))
    return pruned


PrunedBlocks_Pattern_Base._maybe_prune = _listening


class Pair(Block):
    """The toy's block as cache-dit's first pattern calls it."""

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        said = super().forward(hidden_states, encoder_hidden_states)
        return said, encoder_hidden_states


class Pairs(Toy):
    """The toy of such blocks."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__(weights)
        blocks = [Pair(weights, layer) for layer in range(len(weights["W1"]))]
        self.transformer_blocks = torch.nn.ModuleList(blocks)

    def through(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        for block in self.transformer_blocks:
            h, e = block(h, e)
        return h


def wrapped(toy: Toy, settings: dict[str, Any], steps: int, guided: bool) -> Toy:
    """The toy with cache-dit's blocks in it."""
    base = {"Fn_compute_blocks": 1, "Bn_compute_blocks": 0, "max_cached_steps": -1}
    base |= {"max_continuous_cached_steps": 3}
    own = {k: x for k, x in settings.items() if k != "enable_taylorseer"}
    if "steps_computation_mask" in own:
        own["steps_computation_mask"] = [int(x) for x in own["steps_computation_mask"]]
    adapter = BlockAdapter(
        transformer=toy,
        blocks=toy.transformer_blocks,
        forward_pattern=ForwardPattern.Pattern_0,
        check_forward_pattern=False,
        check_num_outputs=False,
    )
    calibrator = TaylorSeer(enable_encoder_calibrator=False, taylorseer_order=1)
    config = {**base, **own, "enable_separate_cfg": guided}
    cache_dit.enable_cache(
        adapter,
        cache_config=DBPruneConfig(**config, num_inference_steps=steps),
        calibrator_config=calibrator if "enable_taylorseer" in settings else None,
    )
    return toy


def record(name: str, seed: int) -> dict[str, Any]:
    """One generation under DBPrune, by Euler steps."""
    settings, steps, scale = CASES[name]
    weights, guided = drawn(seed, PRUNED_DIMS), scale != 1
    toy = Pairs({key: torch.from_numpy(x) for key, x in weights.items()})
    toy = wrapped(toy, settings, steps, guided)
    grid = np.linspace(1, 0, steps + 1)
    sigma = (3 * grid / (1 + 2 * grid)).astype(np.float32)
    draw = np.random.default_rng(seed + 1)
    x = draw.normal(size=(2, DIMS["T"], DIMS["C"])).astype(np.float32)
    samples, velocities, computed, signal = [torch.from_numpy(x)], [], [], []
    with torch.no_grad():
        for i in range(steps):
            t = torch.tensor(sigma[i] * np.float32(1000))
            said, asked = [], []
            for branch in range(1 + guided):
                _asked.clear()
                said.append(toy(samples[-1], t, branch))
                asked.append(list(_asked))
            computed.append([[not pruned for pruned, _ in each] for each in asked])
            signal.append([[diff for _, diff in each] for each in asked])
            v = said[1] + scale * (said[0] - said[1]) if guided else said[0]
            velocities.append(v)
            samples.append(samples[-1] + float(sigma[i + 1] - sigma[i]) * v)
    config = {
        "impl": "dbprune",
        "case": name,
        "via": f"cache_dit {cache_dit.__version__}",
        "N": steps,
        "B": 2,
        "db": settings,
        "seed": seed,
        "dims": PRUNED_DIMS,
        "ln_eps": LN_EPS,
        **({"cfg_scale": scale} if guided else {}),
    }
    return {
        "config": json.dumps(config),
        "sigma": sigma,
        **{f"weights/{key}": w for key, w in weights.items()},
        "x": np.stack(samples),
        "velocity": np.stack(velocities),
        "computed": np.array(computed),
        "signal": np.array(signal),
    }


def main() -> None:
    """Writes a file for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1])
    folder = parser.parse_args().out / "pruning"
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(CASES):
        arrays = record(name, 300 + seed)
        np.savez_compressed(folder / f"dbprune_{name}.npz", **arrays)
        print(name, arrays["computed"].astype(int).tolist())


if __name__ == "__main__":
    main()

"""diffusers' hooks around PyTorch's blocks: FirstBlockCache and TaylorSeer."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import contract
import diffusers
import numpy as np
import torch
from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks import HookRegistry
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.cache_utils import CacheMixin
from sit import Block, Sampler, SiT, network

CONFIGS: dict[str, Any] = {
    "first_block": FirstBlockCacheConfig(threshold=contract.ANY_DIFFERENCE),
    "taylor_seer": TaylorSeerCacheConfig(
        cache_interval=contract.INTERVAL,
        disable_cache_before_step=contract.BEFORE,
        max_order=contract.ORDER,
        taylor_factors_dtype=torch.float32,
        cache_identifiers=[r"blocks\.\d+"],
    ),
}


class CachedSiT(SiT, CacheMixin):
    """The network, with what diffusers' models have for caches."""


def contenders(
    given: contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """Each cache with the network eager, and with `torch.compile`."""
    torch.set_num_threads(1)
    TransformerBlockRegistry.register(
        Block, TransformerBlockMetadata(return_hidden_states_index=0)
    )

    def cached(name: str, compiled: bool) -> contract.Contender:
        model = network(given, CachedSiT)
        ran = Counted(model.blocks[-1])
        model.enable_cache(CONFIGS[name])
        sampler = Sampler(given, torch.compile(model) if compiled else model)

        def run() -> np.ndarray:
            ran.count = 0
            registry = HookRegistry.check_if_exists_or_initialize(model)
            registry.reset_stateful_hooks()
            with model.cache_context("sample"):
                return sampler.run()

        return contract.Contender(run, lambda: None if compiled else ran.count)

    return {
        f"{name}, {how}": lambda name=name, how=how: cached(name, how == "compiled")
        for name in CONFIGS
        for how in ("eager", "compiled")
    }


class Counted:
    """Counts how often a block's own forward has run."""

    def __init__(self, block: torch.nn.Module) -> None:
        self.count = 0
        block.attn.register_forward_pre_hook(self._note)

    def _note(self, *_: Any) -> None:
        self.count += 1


if __name__ == "__main__":
    contract.main(
        contenders,
        lambda: {"torch": torch.__version__, "diffusers": diffusers.__version__},
    )

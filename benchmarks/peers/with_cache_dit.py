"""cache-dit around PyTorch's blocks: DBCache, and TaylorSeer as its calibrator."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cache_dit
import contract
import numpy as np
import torch
from cache_dit import BlockAdapter, DBCacheConfig, ForwardPattern
from sit import Sampler, network
from with_diffusers import Counted


def contenders(
    given: contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """With the network eager, and with `torch.compile`."""
    torch.set_num_threads(1)

    def cached(compiled: bool) -> contract.Contender:
        model = network(given)
        ran = Counted(model.blocks[-1])
        options: dict[str, Any] = {
            "Fn_compute_blocks": contract.FIRST_BLOCKS,
            "Bn_compute_blocks": 0,
            "max_warmup_steps": contract.WARMUP,
            "max_continuous_cached_steps": contract.IN_A_ROW,
            "residual_diff_threshold": contract.ANY_DIFFERENCE,
            "num_inference_steps": contract.NUM_STEPS,
            "enable_separate_cfg": False,
        }
        adapter = BlockAdapter(
            transformer=model,
            blocks=model.blocks,
            forward_pattern=ForwardPattern.Pattern_3,
            check_forward_pattern=False,
        )
        cache_dit.enable_cache(adapter, cache_config=DBCacheConfig(**options))
        sampler = Sampler(given, torch.compile(model) if compiled else model)

        def run() -> np.ndarray:
            ran.count = 0
            cache_dit.refresh_context(model, num_inference_steps=contract.NUM_STEPS)
            return sampler.run()

        return contract.Contender(run, lambda: None if compiled else ran.count)

    return {
        "db_cache, eager": lambda: cached(False),
        "db_cache, compiled": lambda: cached(True),
    }


if __name__ == "__main__":
    contract.main(
        contenders,
        lambda: {"torch": torch.__version__, "cache-dit": cache_dit.__version__},
    )

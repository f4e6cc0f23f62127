"""cache-dit's DBCache, calibrators and step masks under vLLM-Omni's name."""

from __future__ import annotations

from typing import Any

import numpy as np

from jax_stepcache.backends.inside import InsideBackend
from jax_stepcache.check import check_count, check_flag, check_numbers
from jax_stepcache.errors import unknown_name
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.forecasts import DMD, FoCa, Taylor
from jax_stepcache.policy.named import db_cache, restarting, steps_mask
from jax_stepcache.policy.named.each_list import each_list
from jax_stepcache.policy.policy import Policy

# cache-dit's TaylorSeer keeps no derivative of what is computed before this step.
_FIRST_DIFFERENCE = 3
_CALIBRATORS = ("taylorseer", "foca", "dmd")


class CacheDiTBackend(InsideBackend):
    """cache-dit's DBCache, with its calibrators and step-computation masks."""

    def _composed(self, model: Model, num_steps: int) -> Policy:
        policy = self._of_one(num_steps)
        ways = ("joined", "each")
        if self.config.block_lists not in ways:
            raise ValueError(unknown_name("block_lists", self.config.block_lists, ways))
        if self.config.block_lists == "joined":
            return policy
        lists = getattr(model, "block_lists", None)
        if lists is None:
            raise ValueError(
                "block_lists is 'each', for a cache of its own in each of several "
                f"lists of blocks; {model.name} has one list"
            )
        return each_list(*[policy] * len(lists))

    def _of_one(self, num_steps: int) -> Policy:
        c = self.config
        for name in ("enable_taylorseer", "cfg_diff_compute_separate"):
            check_flag(name, getattr(c, name))
        policy = self._by_settings(num_steps)
        if c.force_refresh_step_hint is None:
            return policy
        policies = ("once", "repeat")
        if c.force_refresh_step_policy not in policies:
            raise ValueError(
                unknown_name(
                    "force_refresh_step_policy", c.force_refresh_step_policy, policies
                )
            )
        repeat = c.force_refresh_step_policy == "repeat"
        return restarting(policy, c.force_refresh_step_hint, repeat)

    def _by_settings(self, num_steps: int) -> Policy:
        """The policy, which is not begun anew on the way."""
        c = self.config
        return db_cache(
            c.residual_diff_threshold,
            first_blocks=c.Fn_compute_blocks,
            last_blocks=c.Bn_compute_blocks,
            warmup_steps=c.max_warmup_steps,
            warmup_interval=c.warmup_interval,
            max_cached_steps=c.max_cached_steps,
            max_continuous_cached_steps=c.max_continuous_cached_steps,
            max_accumulated=c.max_accumulated_residual_diff_threshold,
            separate_cfg_diff=c.cfg_diff_compute_separate,
            steps_mask=self._mask(num_steps),
            steps_policy=c.scm_steps_policy,
            forecast=self._forecast(self._calibrator()),
        )

    def _calibrator(self) -> Any:
        """The forecast, by cache-dit's settings."""
        c, kind = self.config, self.config.calibrator_type
        if kind is None:
            kind = "taylorseer" if c.enable_taylorseer else "none"
        elif kind not in _CALIBRATORS:
            raise ValueError(unknown_name("calibrator_type", kind, _CALIBRATORS))
        elif c.enable_taylorseer and kind != "taylorseer":
            raise ValueError(
                f"calibrator_type is {kind!r} and enable_taylorseer is True; leave out "
                "one of them"
            )
        if kind == "taylorseer":
            check_count("taylorseer_order", c.taylorseer_order)
            return Taylor(c.taylorseer_order, _FIRST_DIFFERENCE)
        if kind == "dmd":
            check_count("dmd_history", c.dmd_history, 4)
            check_count("dmd_rank", c.dmd_rank)
            check_numbers("dmd_ridge", c.dmd_ridge, least=0.0)
            return DMD(c.dmd_history, c.dmd_rank, c.dmd_ridge)
        return FoCa() if kind == "foca" else "hold"

    def _mask(self, num_steps: int) -> Any:
        c = self.config
        if c.num_inference_steps not in (None, num_steps):
            raise ValueError(
                f"num_inference_steps is {c.num_inference_steps} in cache_config, and "
                f"this generation has {num_steps} steps"
            )
        bins = (c.scm_compute_bins, c.scm_cache_bins)
        ways = {
            "steps_mask": c.steps_mask is not None,
            "scm_steps_mask_policy": c.scm_steps_mask_policy is not None,
            "scm_compute_bins and scm_cache_bins": bins != (None, None),
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"a mask is given by one of {list(ways)}; got {given}")
        if c.steps_mask is not None:
            if np.shape(c.steps_mask) != (num_steps,):
                raise ValueError(
                    f"steps_mask has shape {np.shape(c.steps_mask)}; {num_steps} steps "
                    f"need ({num_steps},)"
                )
            return c.steps_mask
        if not given:
            return None
        return steps_mask(
            num_steps,
            c.scm_steps_mask_policy,
            compute_bins=bins[0],
            cache_bins=bins[1],
        )

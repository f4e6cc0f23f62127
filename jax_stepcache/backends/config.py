"""The settings of all cache backends, under vLLM-Omni's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from jax_stepcache.errors import brief, naming_fields, unknown_name


@naming_fields()
@dataclass(frozen=True)
class DiffusionCacheConfig:
    """Settings of the cache backends; each reads its own and ignores the others'.

    Names and defaults are vLLM-Omni's (`vllm_omni/diffusion/data.py`), then those of
    cache-dit and diffusers; the last group is this library's.

    Attributes:
        rel_l1_thresh: TeaCache's threshold; None for the model's, else 0.2. DiCache's;
            None for 0.4, or 0.08 with ``"delta_minus"``.
        coefficients: TeaCache's polynomial, five numbers, highest power first.
        sea_threshold: SeaCache's threshold.
        sea_residual_order: order of SeaCache's extrapolation.
        sea_max_consecutive_cached: SeaCache's cap; 0 for none.
        sea_power_exp: exponent of SeaCache's spectrum.
        mag_threshold: MagCache's cap on the accumulated error.
        mag_max_skip_steps: MagCache's cap on consecutive skips.
        mag_retention_ratio: share of the steps MagCache always computes first.
        mag_ratios: MagCache's calibrated ratios, one a step; with ``original`` [2,
            steps], of the conditional branch and the other, or one row of both in turn.
        mag_calibrate: whether MagCache records ratios instead of skipping.
        Fn_compute_blocks: DBCache's first blocks, always computed.
        Bn_compute_blocks: DBCache's last blocks, always computed.
        max_warmup_steps: DBCache's warm-up; DBPrune has DBCache's settings, too, of
            every block.
        non_prune_block_ids: blocks between these that DBPrune never skips, from 0.
        enable_dynamic_prune_threshold: whether DBPrune's threshold rises to the mean of
            the first five changes of a step, times the ratio.
        max_dynamic_prune_threshold: a threshold of this is too high to rise to; None
            for twice the threshold.
        dynamic_prune_threshold_relax_ratio: the ratio.
        max_cached_steps: DBCache's cap on skipped steps; -1 for none.
        residual_diff_threshold: DBCache's threshold.
        max_continuous_cached_steps: DBCache's cap on consecutive skips; -1 for none.
        enable_taylorseer: whether DBCache forecasts with TaylorSeer.
        taylorseer_order: TaylorSeer's order.
        scm_steps_mask_policy: name of a step-computation mask.
        scm_steps_policy: ``"dynamic"`` or ``"static"``.
        num_inference_steps: steps the mask is made for.
        force_refresh_step_hint: a forward before which DBCache starts afresh; each
            guidance branch of a step is one.
        force_refresh_step_policy: ``"once"`` or ``"repeat"``.
        step_cache_dit_enabled: whether StepCache skips at all.
        velocity_sim_thresholds: StepCache's tiers, cosines in [-1, 1], falling.
        velocity_skip_countdowns: StepCache's countdown for each tier, at least 1.
        step_cache_dit_min_history: computed velocities before the first reuse.
        step_cache_dit_max_history: velocities kept.
        warmup_interval: of DBCache's warm-up steps, every so many run.
        max_accumulated_residual_diff_threshold: cap on the sum of DBCache's changes, or
            None.
        cfg_diff_compute_separate: whether DBCache's unconditional branch looks at its
            own change.
        scm_compute_bins: instead of a mask policy, lengths of the runs of steps that
            compute.
        scm_cache_bins: likewise, of those between them.
        threshold: FirstBlockCache's threshold.
        cache_interval: TaylorSeer's interval.
        disable_cache_before_step: steps that TaylorSeer computes first.
        disable_cache_after_step: the step from which it computes all, or None.
        max_order: order of TaylorSeer's series, and HiCache's.
        calibrator_type: DBCache's forecast in cache-dit's words: ``"taylorseer"``,
            ``"foca"`` or ``"dmd"``; None for ``enable_taylorseer`` to say.
        dmd_history: values that DMD is fitted to, at least 4.
        dmd_rank: most of DMD's modes; 0 for all above the noise.
        dmd_ridge: what DMD adds to the singular values that it divides by.
        hicache_scale_factor: how far HiCache contracts its polynomials.
        thresh: EasyCache's threshold.
        ret_steps: steps that EasyCache computes first.
        probe_depth: blocks of DiCache's probe, always computed.
        ret_ratio: share of the steps that DiCache computes first.
        error_choice: what DiCache adds up: ``"delta_y"`` or ``"delta_minus"``.
        sencache_sensitivities: SenCache's table: ``timesteps``, ``J_x_norm`` and
            ``J_t_norm``, rows of one length; None for the model's.
        sencache_thresh_main: SenCache's threshold.
        sencache_thresh_start: SenCache's threshold at the first fifth of the steps.
        sencache_K: SenCache's cap on consecutive skips.
        unconditional_batch_skip_range: of the steps at which CFG-Cache may leave the
            unconditional branch out, every so many ask it all the same.
        unconditional_batch_timestep_skip_range: timesteps between which it may, 1000
            times the noise level, both exclusive.
        alpha_low_frequency: what CFG-Cache takes the low frequencies of the branches'
            difference times, at each step that reuses it; diffusers' is 1.1.
        alpha_high_frequency: likewise, the others.
        low_frequency_weight_update_timestep_range: timesteps between which the first
            holds, both exclusive.
        high_frequency_weight_update_timestep_range: likewise, the second.
        use_lite_mode: whether TaylorSeer extrapolates the network's output instead of
            what its blocks add.
        attention_only: whether TaylorSeer extrapolates what each attention says, as
            diffusers' own default, and the rest of the blocks runs at every step.
        block_lists: ``"joined"``, one DBCache over all blocks, as cache-dit has it;
            ``"each"``, one for each list of them, as vLLM-Omni declares FLUX.
        original: whether TeaCache and MagCache decide as the papers' own code for the
            model does, Wan's or FLUX's, which differs from what vLLM-Omni and diffusers
            made of it; None for the model's choice, else not.
        use_ret_steps: of the original TeaCache, whether it looks at the projected time
            embedding and computes the first five steps, rather than first and last.
        mag_split_step: of the original MagCache for two experts, how many steps the
            high-noise one has; None for one transformer.
        mag_spares_high: likewise, whether all of those compute, as with an image; None
            for the model's choice, else not.
        sea_retention_steps: steps that SeaCache computes first, at least 1.
        sea_cache_end_steps: steps that it computes last.
        high: for a model of two experts, settings of the high-noise one by name, over
            those that both have.
        low: likewise, of the low-noise one.
        forecast: what skipped steps use; None for the backend's own (``"hold"``, or
            what was tuned).
        signal_output: output that StepCache and EasyCache compare, and SeaCache and
            SenCache look at; None for the model's choice, ``"lowest"`` for the lowest
            of StepCache's cosines over all outputs.
        steps_mask: the static backend's mask, or DBCache's, true where the network
            runs.
        num_dit_steps: 5, 6, 7 or 8 of 16, the original DreamZero's static schedules.
        budget: model calls of the tuned and the bespoke backend.
        table: a table of the bespoke backend, or one for each output.
    """

    rel_l1_thresh: Any = None
    coefficients: Sequence[float] | None = None
    sea_threshold: Any = 0.25
    sea_residual_order: int = 1
    sea_max_consecutive_cached: int = 2
    sea_power_exp: float = 3.0
    mag_threshold: Any = 0.24
    mag_max_skip_steps: int = 5
    mag_retention_ratio: float = 0.1
    mag_ratios: Sequence[Any] | None = None
    mag_calibrate: bool = False
    Fn_compute_blocks: int = 1
    Bn_compute_blocks: int = 0
    max_warmup_steps: int = 4
    max_cached_steps: int = -1
    residual_diff_threshold: Any = 0.24
    max_continuous_cached_steps: int = 3
    enable_taylorseer: bool = False
    taylorseer_order: int = 1
    scm_steps_mask_policy: str | None = None
    scm_steps_policy: str = "dynamic"
    num_inference_steps: int | None = None
    force_refresh_step_hint: int | None = None
    force_refresh_step_policy: str = "once"
    step_cache_dit_enabled: bool = True
    velocity_sim_thresholds: Any = (0.95, 0.93)
    velocity_skip_countdowns: Any = (4, 2)
    step_cache_dit_min_history: int = 2
    step_cache_dit_max_history: int = 2

    warmup_interval: int = 1
    max_accumulated_residual_diff_threshold: Any = None
    cfg_diff_compute_separate: bool = True
    non_prune_block_ids: Sequence[int] = ()
    enable_dynamic_prune_threshold: bool = False
    max_dynamic_prune_threshold: Any = None
    dynamic_prune_threshold_relax_ratio: Any = 1.25
    scm_compute_bins: Sequence[int] | None = None
    scm_cache_bins: Sequence[int] | None = None
    threshold: Any = 0.05
    cache_interval: int = 5
    disable_cache_before_step: int = 3
    disable_cache_after_step: int | None = None
    max_order: int = 1
    calibrator_type: str | None = None
    dmd_history: int = 6
    dmd_rank: int = 0
    dmd_ridge: float = 1e-8
    hicache_scale_factor: Any = 0.5
    thresh: Any = 0.05
    ret_steps: int = 5
    probe_depth: int = 1
    ret_ratio: float = 0.2
    error_choice: str = "delta_y"
    sencache_sensitivities: Any = None
    sencache_thresh_main: Any = 0.07
    sencache_thresh_start: Any = 0.005
    sencache_K: int = 10
    unconditional_batch_skip_range: int = 5
    unconditional_batch_timestep_skip_range: Sequence[float] = (-1, 641)
    alpha_low_frequency: Any = 1.0
    alpha_high_frequency: Any = 1.0
    low_frequency_weight_update_timestep_range: Sequence[float] = (99, 901)
    high_frequency_weight_update_timestep_range: Sequence[float] = (-1, 301)
    use_lite_mode: bool = False
    attention_only: bool = False
    block_lists: str = "joined"
    original: bool | None = None
    use_ret_steps: bool = False
    mag_split_step: int | None = None
    mag_spares_high: bool | None = None
    sea_retention_steps: int = 1
    sea_cache_end_steps: int = 1
    high: Mapping[str, Any] | None = None
    low: Mapping[str, Any] | None = None

    forecast: Any = None
    signal_output: str | None = None
    steps_mask: Any = None
    num_dit_steps: int | None = None
    budget: int | None = None
    table: Any = None

    @classmethod
    def from_dict(
        cls, settings: Mapping[str, Any], strict: bool = True
    ) -> DiffusionCacheConfig:
        """Makes a config from a mapping.

        Args:
            settings: field names to values.
            strict: whether a name that is no field is an error. vLLM-Omni keeps such
                names silently, and a typo vanishes; False drops them.

        Returns:
            The config.

        Raises:
            ValueError: for a name that is no field, with the nearest that is one.
            TypeError: for what is no mapping.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(
                f"cache_config is {brief(settings)}; give a mapping of settings"
            )
        known = {field.name for field in fields(cls)}
        for name in settings:
            if strict and name not in known:
                raise ValueError(unknown_name("cache_config key", name, known))
        return cls(**{k: v for k, v in settings.items() if k in known})


def check_output(name: object) -> None:
    """Checks what ``signal_output`` is given as.

    Raises:
        ValueError: if it is no name.
    """
    if not isinstance(name, str | None):
        raise ValueError(f"signal_output is {name!r:.80}; give the name of an output")


def wrong_config(given: object) -> str:
    """Words the error for settings that are neither a mapping nor a config."""
    return (
        f"cache_config is a {type(given).__name__}; give a dict or a "
        "DiffusionCacheConfig"
    )

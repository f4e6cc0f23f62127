"""Weights arrive on a mesh as on one device, each device with its part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jax_stepcache import load_params
from jax_stepcache.checkpoints.placement import split_axis

from .original import write_original

_ROOT = Path(__file__).parent.parent.parent

_ON_TWO_DEVICES = """
import sys
import jax, numpy as np
import jax_stepcache as jsc

original, ours = sys.argv[1:]
mesh = jax.make_mesh((1, 2), ("data", "model"))
one = jsc.load_params(original)
jsc.save_params(ours, one)
for path in (original, ours):
    two = jsc.load_params(path, mesh=mesh)
    assert two.model == one.model
    assert jax.tree.structure(two) == jax.tree.structure(one)
    split = 0
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype
        assert set(b.devices()) == set(mesh.devices.flat)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        part = b.addressable_shards[0].data
        split += part.size * 2 == b.size
        if b.ndim > 2:
            assert part.shape[0] == b.shape[0], "layers are not split"
    assert split == len(jax.tree.leaves(two)), split
print("equal")
"""


@pytest.mark.slow
def test_two_devices_hold_what_one_does(tmp_path):
    """Values and dtypes are the same, streamed and restored; nothing is held twice."""
    folder = write_original(tmp_path / "original")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    done = subprocess.run(
        [sys.executable, "-c", _ON_TWO_DEVICES, folder, tmp_path / "ours"],
        env=environment,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"


@pytest.mark.parametrize(
    ("shape", "stacked", "axis"),
    [
        ((8, 16), False, 1),
        ((16, 8), False, 0),
        ((8, 8), False, 1),
        ((40, 8), True, 1),
        ((40, 6), True, None),
        ((7, 5), False, None),
        ((), False, None),
    ],
)
def test_the_longest_axis_is_split(shape, stacked, axis):
    """Over all devices, if their number divides it; never the layers."""
    assert split_axis(shape, 4, stacked=stacked) == axis


def test_what_is_no_mesh():
    """Devices alone are not enough."""
    with pytest.raises(TypeError, match=r"must be a jax\.sharding\.Mesh, got list"):
        load_params("tabletop", mesh=jax.devices())

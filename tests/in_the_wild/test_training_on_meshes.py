"""Fine-tuning on several devices; the cases are in `training_on_devices`, which runs in
a process that has eight."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jax_stepcache.models.training.layout import layout_of

from .training_on_devices import CASES


def one_device(*names):
    return jax.make_mesh((1,) * len(names), names)


def test_axes_and_rows_that_do_not_fit_are_named():
    """Before anything is compiled: the axis, or the batch and the mesh."""
    with pytest.raises(ValueError, match=r"axis of a mesh to train on.*'dota'.*'data'"):
        layout_of(one_device("dota"), 4)
    with pytest.raises(TypeError, match=r"jax\.sharding\.Mesh, got int"):
        layout_of(8, 4)
    assert layout_of(None, 3) is None


@pytest.mark.slow
def test_several_devices_train_to_what_one_does():
    """Weights and adapters, resumed elsewhere; compiled once, kept in parts."""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.training_on_devices", *CASES],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.endswith((": ok", "ed"))]
    assert said == [f"{name}: ok" for name in CASES], done.stderr[-5000:]

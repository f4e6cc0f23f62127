"""Fine-tuning on several devices; the cases are in `training_on_devices`, which runs in
a process that has eight."""

import jax
import pytest

from jax_stepcache.models.training.fully_sharded import fully_sharded

from .devices import run_cases
from .training_on_devices import CASES


def one_device(*names):
    return jax.make_mesh((1,) * len(names), names)


def test_axes_and_rows_that_do_not_fit_are_named():
    """Before anything is compiled: the axis, or the batch and the mesh."""
    with pytest.raises(ValueError, match=r"axis of a mesh to train on.*'dota'.*'data'"):
        fully_sharded(one_device("dota"), 4)
    with pytest.raises(TypeError, match=r"jax\.sharding\.Mesh, got int"):
        fully_sharded(8, 4)
    assert fully_sharded(None, 3) is None


@pytest.mark.slow
def test_several_devices_train_to_what_one_does():
    """Weights and adapters, resumed elsewhere; compiled once, kept in parts."""
    verdicts, errors = run_cases("training_on_devices", CASES, 8)
    assert verdicts == dict.fromkeys(CASES, "ok"), errors[-5000:]

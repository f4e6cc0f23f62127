import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import sample

from ..jaxprs import primitives
from ..networks import Watched, constant, counted_steps

NOISE = jnp.ones((1, 2))


def run(noise=NOISE, model=constant, **options):
    return sample(
        jnp.float32(1),
        model=model,
        noise=noise,
        schedule=counted_steps(8),
        solver="euler",
        cache="step_cache",
        **options,
    )


class Notes:
    """A progress of one's own."""

    def __init__(self):
        self.seen = []

    def __call__(self, step, computed, *, num_steps):
        self.seen.append((int(step), bool(computed), num_steps))


def test_each_step_is_reported_once_and_in_order():
    """A progress is told every step, and whether the network ran."""
    notes = Notes()
    result = run(progress=notes)
    jax.effects_barrier()
    computed = result.stats.computed.tolist()
    assert notes.seen == [(i, ran, 8) for i, ran in enumerate(computed)]
    assert computed == [True, True, False, False, False, False, True, False]


@pytest.mark.parametrize("said", [True, 7, "text", np.zeros(3)])
def test_what_a_progress_returns_is_nobodys_business(said):
    """As of ``lambda step, computed, num_steps: bar.update()``."""
    told = []

    def note(step, computed, num_steps):
        told.append(int(step))
        return said

    jax.block_until_ready(run(progress=note))
    jax.effects_barrier()
    assert told == list(range(8))


@pytest.mark.parametrize(
    "progress",
    [
        lambda step: None,
        lambda step, computed: None,
        lambda step, computed, total: None,
        lambda **given: None,
    ],
)
def test_a_progress_of_other_arguments_is_refused(progress):
    """At once: from inside the loop its error would be JAX's."""
    with pytest.raises(
        TypeError, match=r"progress is .* \(step, computed, num_steps=\)"
    ):
        run(progress=progress)


def test_progress_changes_no_number():
    """The same sample comes out, with and without a progress."""
    np.testing.assert_array_equal(run(progress=Notes()).sample, run().sample)


def test_only_progress_compiles_a_callback():
    """One ordered host callback in the loop with a progress, none without."""
    loud = primitives(lambda noise: run(noise, progress=True), NOISE)
    silent = primitives(run, NOISE)
    assert loud["io_callback"] == 1
    assert not any("callback" in name for name in silent)


def test_a_bar_of_as_many_steps(capfd):
    """``progress=True`` draws a tqdm bar to its end, and counts the model calls."""
    network = Watched(constant)
    for _ in range(2):
        run(model=network, progress=True)
        jax.effects_barrier()
        shown = capfd.readouterr().err
        assert "8/8" in shown
        assert "model_calls=3" in shown
    assert network.traces == 1

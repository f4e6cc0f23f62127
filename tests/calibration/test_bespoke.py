"""Tables that are found by descent through the sampler."""

import functools
import itertools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    SolverTable,
    TargetNotReached,
    calibrate,
    flow_schedule,
    sample,
)
from jax_stepcache.calibration import table_fit
from jax_stepcache.calibration.quality import decibels
from jax_stepcache.calibration.table_loss import table_loss
from jax_stepcache.calibration.table_space import (
    Moved,
    kept_falling,
    moved_table,
    space_around,
    unmoved,
)

CALLS, NUM_STEPS = 3, 8
OPTIONS = {"num_inference_steps": NUM_STEPS, "solver": "euler"}
WEIGHTS = jax.random.normal(jax.random.key(1), (4, 4)) / 2
TARGET = {"model_calls": CALLS}
FIT = {"steps": 60, "seconds": None, "batch": 8, "learning_rate": 1e-2, "pooled": 0.5}


def samples(number=32, seed=2):
    a, b = jax.random.split(jax.random.key(seed))
    return {
        "noise": {
            "a": jax.random.normal(a, (number, 4)),
            "b": jax.random.normal(b, (number, 2)),
        },
        "condition": jnp.full((number, 4), 0.1),
    }


def two_outputs(weights, x, t, condition):
    h = jnp.tanh(2 * x["a"] @ weights + (t / 1000)[:, None]) + condition
    return {"a": h, "b": jnp.sin(3 * x["b"]) + h[:, :2]}


run = functools.partial(calibrate, WEIGHTS, two_outputs, cache="bespoke", **OPTIONS)


def sampled(drawn, **options):
    return sample(WEIGHTS, model=two_outputs, **drawn, **options)


@pytest.fixture(scope="module")
def found():
    return run(samples(), target=TARGET, fit=FIT)


@pytest.mark.slow
def test_a_table_is_ahead_on_new_noise(found):
    """Nearer than as many plain steps, on every output, on samples it has not seen."""
    drawn = samples(64, seed=9)
    reference = sampled(drawn, **OPTIONS).sample
    result = sampled(drawn, **found.options)
    assert result.stats.model_calls == CALLS == found.model_calls
    plain = sampled(drawn, num_inference_steps=CALLS, solver="euler").sample
    quality, baseline = (decibels(reference, x) for x in (result.sample, plain))
    for name, decibel in quality.items():
        assert decibel > baseline[name] + 3, name


def test_what_is_found_is_told(found):
    """The figures are of the held-out samples; the outputs share their levels."""
    assert found.met
    assert found.fit["held_out"] == 8
    assert found.lead > 0
    starts = {"plain", "unipc", "dpm++", "linear", "linear_x0"}
    assert {*starts, "found"} == {p.setting for p in found.curve}
    table = found.cache_config["table"]
    assert isinstance(table, SolverTable)
    assert set(table.noise) == {"a", "b"}
    assert "a table of 3 calls" in str(found)
    again = json.loads(json.dumps(found.to_json()))["cache_config"]["table"]
    drawn = samples(2)
    wanted = sampled(drawn, **found.options).sample
    given = sampled(drawn, cache="bespoke", cache_config={"table": again}).sample
    for name, end in wanted.items():
        np.testing.assert_array_equal(given[name], end)


def test_a_fit_goes_on_from_its_file(tmp_path, found):
    """Broken off and resumed, it comes to the table it would have come to."""
    file = tmp_path / "deep" / "fit.npz"
    seen = []

    def stop(looked):
        seen.append(looked)
        if looked.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(samples(), target=TARGET, fit={**FIT, "resume": file, "progress": stop})
    looks = []
    again = run(
        samples(), target=TARGET, fit={**FIT, "resume": file, "progress": looks.append}
    )
    assert [one.step for one in looks] == [40, 60]
    assert looks[-1].best >= seen[-1].best > 0
    for one, other in zip(
        jax.tree.leaves(again.cache_config["table"]),
        jax.tree.leaves(found.cache_config["table"]),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    with pytest.raises(ValueError, match="of another fit"):
        run(samples(seed=4), target=TARGET, fit={**FIT, "resume": file})
    file.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="cut short"):
        run(samples(), target=TARGET, fit={**FIT, "resume": file})


def test_out_of_time_it_looks_once_more(tmp_path, monkeypatch):
    """What was gained since the last look is found and kept, before the first too."""
    file, looks, ticks = tmp_path / "fit.npz", [], itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(table_fit, "time", clock)
    limits = {"seconds": 13.0, "resume": file, "progress": looks.append}
    found = run(samples(), target=TARGET, fit={**FIT, **limits})
    assert [one.step for one in looks] == [12]
    assert looks[0].best > 0
    assert file.exists()
    assert found.fit["steps"] == 12


@pytest.mark.slow
def test_the_fewest_calls_that_reach_a_psnr(tmp_path):
    """From two calls upwards; where none does, the nearest that was found."""
    fit = {"steps": 1, "seconds": None, "batch": 8, "resume": tmp_path / "fit"}
    given = {"num_inference_steps": 4, "solver": "euler", "fit": fit}
    run = functools.partial(
        calibrate, WEIGHTS, two_outputs, samples(), cache="bespoke", **given
    )
    with pytest.raises(TargetNotReached) as unreached:
        run(target={"psnr": 200.0})
    nearest = unreached.value.best
    assert not nearest.met
    assert nearest.model_calls == 3
    near = run(target={"psnr": min(nearest.quality.values()) - 0.1})
    assert near.met
    few = run(target={"psnr": 1.0})
    assert (few.met, few.model_calls) == (True, 2)


def test_held_out_samples_stop_a_fit():
    """A rate that only makes it worse: back twice, then it ends where it began."""
    looks = []
    found = run(
        samples(),
        target=TARGET,
        fit={**FIT, "steps": 2000, "learning_rate": 30.0, "patience": 2}
        | {"progress": looks.append},
    )
    assert looks[-1].step == 3 * 2 * 20
    assert found.lead >= 0


@pytest.mark.parametrize("slopes", ["remat", "forward"])
def test_derivatives_come_to_the_same(slopes, found):
    """Whatever is remembered: forward and rematerialised, the same descent."""
    fit = {**FIT, "steps": 20}
    one, other = (
        run(samples(), target=TARGET, fit={**fit, "slopes": how}).cache_config["table"]
        for how in ("reverse", slopes)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_batches_add_up():
    """Two batches a step are one of twice the size, where each sample weighs alike."""
    fit = {**FIT, "steps": 20, "pooled": 0.0, "curvature": 24}
    one, other = (
        run(samples(), target=TARGET, fit={**fit, **how}).cache_config["table"]
        for how in ({"batch": 8, "accumulate": 3}, {"batch": 8, "accumulate": 6})
    )
    # All of the training samples, once and twice.
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def blows_up(weights, x, t, condition):
    """Infinite as soon as samples leave where the start has them."""
    return jax.tree.map(lambda one: jnp.where(jnp.abs(one) > 1e3, jnp.inf, one), x)


def test_nan_on_the_way_leads_back():
    """It is told, and what was best before is kept: nothing half fitted comes out."""
    fit = {**FIT, "steps": 40, "learning_rate": 1e9, "patience": 2}
    given = {"cache": "bespoke", "target": TARGET, "fit": fit, **OPTIONS}
    with pytest.warns(UserWarning, match="samples NaN or infinity; .* best"):
        found = calibrate(WEIGHTS, blows_up, samples(), **given)
    assert found.lead >= 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.cache_config))


def test_what_a_network_is_told_may_be_anything():
    """Other time steps than 1000 sigma move with the noise levels as they did."""
    schedule = flow_schedule(NUM_STEPS, 2.0)
    levels = np.asarray(schedule.sigmas)
    told = schedule._replace(timesteps=tuple((1 - levels[:-1]).tolist()))
    table = SolverTable(
        levels[[0, 3, 8]], (1 - levels[[0, 3]]), np.ones(2), np.tril(np.ones((2, 2)))
    )
    said = np.random.default_rng(0).standard_normal((3, 4, 5))
    space = space_around(table, told, said[0], said[1:])
    after = moved_table(space, Moved(jnp.array([-0.01, 0.02]), jnp.zeros((2, 3))))
    np.testing.assert_allclose(after.timesteps, 1 - after.sigmas[:-1], atol=1e-5)
    still = moved_table(space, unmoved(space))
    for one, other in zip(still, table, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_a_step_of_any_weight_weighs_alike():
    """Along each direction the sample moves by as much, however alike velocities are.

    Nothing is ever put on a velocity that is not there yet.
    """
    draw = np.random.default_rng(0)
    base = draw.standard_normal((400, 5))
    said = np.stack([base + 0.3 * draw.standard_normal(base.shape) for _ in range(3)])
    noise = draw.standard_normal(base.shape)
    table = SolverTable(
        np.linspace(1, 0, 4), np.arange(3.0), np.ones(3), np.tril(np.ones((3, 3)))
    )
    space = space_around(table, flow_schedule(8), noise, said)
    both = np.concatenate([noise[None], said])
    for j in range(3):
        for k in range(4):
            along = jnp.zeros((3, 4)).at[j, k].set(1.0)
            after = moved_table(space, Moved(jnp.zeros(3), along))
            assert not np.triu(after.velocities, 1).any()
            change = np.append(after.noise - 1, after.velocities - table.velocities)
            change = change.reshape(-1)
            weights = np.concatenate(
                [(after.noise - 1)[:, None], after.velocities - table.velocities], 1
            )[j]
            moved = np.sqrt(np.square(np.tensordot(weights, both, 1)).mean())
            assert moved == pytest.approx(1.0 if k <= j + 1 else 0.0, abs=0.02)


def test_noise_levels_keep_falling():
    """Whatever a step does, the table it comes to is one."""
    table = SolverTable(np.linspace(1, 0, 5), np.arange(4.0), np.ones(4), np.eye(4))
    space = space_around(table, flow_schedule(8), np.ones((2, 2)), np.ones((4, 2, 2)))
    for levels in ([1, 1, 1, 1], [-3, 3, -3, 3], [-2, -2, -2, -2], [0, 0, 0, 0]):
        far = Moved(jnp.array(levels, jnp.float32), jnp.zeros((4, 5)))
        after = moved_table(space, kept_falling(space, far)).sigmas
        assert (np.diff(after) < 0).all(), (levels, after)
        assert after.min() >= 0
        assert after.max() <= 1


def test_the_loss_is_in_decibels():
    """Ten times the error is 10 dB, of one sample or of all; weights weigh outputs."""
    errors = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    each, all_together = jnp.array([[1.0, 0], [0, 0]]), jnp.array([[0, 0.5], [0, 0.5]])
    one, more = (table_loss(x, each) for x in (errors, 10 * errors))
    assert float(more - one) == pytest.approx(np.log(10))
    apart = jnp.array([[1.0, 100.0], [1.0, 1.0]])
    assert float(table_loss(apart, each)) == pytest.approx(np.log(10))
    whole = float(table_loss(apart, all_together))
    assert whole == pytest.approx(np.log(50.5) / 2, abs=1e-5)


def nan(weights, x, t, condition):
    return jax.tree.map(lambda one: jnp.nan * one, x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": {"model_calls": 2.5}}, "whole calls"),
        ({"target": {"model_calls": 0.5}}, "whole calls"),
        ({"fit": {"stepz": 3}}, "'steps'"),
        ({"fit": {"steps": 0}}, "fit's steps"),
        ({"fit": {"pooled": 2.0}}, "pooled"),
        ({"fit": {"pooled": {"a": -1.0}}}, "pooled"),
        ({"fit": {"pooled": {"c": 1.0}}}, "unknown output 'c'"),
        ({"fit": {"slopes": "forwards"}}, "Did you mean 'forward'"),
        ({"fit": {"accumulate": 0}}, "fit's accumulate"),
        ({"fit": 3}, "give a mapping"),
        ({"fit": {"outputs": {"c": 1.0}}}, "unknown output 'c'"),
        ({"fit": {"outputs": {"a": -1.0}}}, r"fit's outputs\['a'\] is -1.0"),
        ({"fit": {"outputs": {"a": np.nan}}}, "must be finite"),
        ({"fit": {"outputs": {"a": "x"}}}, "must be numeric"),
        ({"fit": {"outputs": {"a": 0, "b": 0}}}, "one output has to weigh more"),
        ({"fit": {"outputs": 2.0}}, "give weights by the outputs' names"),
        ({"cache_config": {"budget": 3}}, "finds all of its settings"),
        ({"cache": "tuned", "fit": {}}, "fit goes with cache='bespoke'"),
        ({"samples": samples(1)}, "a table needs 2 or more"),
        ({"model": nan}, "NaN or infinity"),
    ],
)
def test_bad_input(given, message):
    """What does not fit is told, with what would."""
    options = {"samples": samples(4), "target": TARGET, "cache": "bespoke", **OPTIONS}
    options = {"model": two_outputs, **options, **given}
    with pytest.raises((TypeError, ValueError), match=message):
        calibrate(WEIGHTS, **options)


def test_a_schedule_of_tables_is_no_start(found):
    """A calibration begins with noise levels."""
    options = {"target": TARGET, "cache": "bespoke"}
    with pytest.raises(ValueError, match="is a table already"):
        calibrate(
            WEIGHTS,
            two_outputs,
            samples(4),
            schedule=found.cache_config["table"],
            **options,
        )

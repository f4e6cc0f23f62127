"""Which threshold: what a calibration returns, and what it asks the network for."""

import json
import os
import pickle
from types import MappingProxyType

import jax
import numpy as np
import pytest
from jax.experimental import io_callback

from jax_stepcache import StagedDenoiser, TargetNotReached, calibrate, sample
from jax_stepcache.calibration import thresholds
from jax_stepcache.calibration.quality import decibels
from jax_stepcache.calibration.result import Calibration, CurvePoint

from ..staged import NUM_BLOCKS, NUM_STEPS, UNROLLED, WEIGHTS, conditions, noise


class Counter:
    """Counts how often the blocks really run."""

    def __init__(self):
        self.runs = 0

    def blocks(self, weights, hidden, context, start, stop):
        io_callback(self._note, None)
        return UNROLLED.blocks(weights, hidden, context, start, stop)

    def _note(self):
        self.runs += 1


COUNTER = Counter()
COUNTED = StagedDenoiser(
    NUM_BLOCKS, UNROLLED.embed, COUNTER.blocks, UNROLLED.head, UNROLLED.modulated
)
SAMPLES = {"noise": noise(), "condition": conditions()[0]}
OPTIONS = {"num_inference_steps": NUM_STEPS, "solver": "euler"}
WANTED = 5


def found(target, **more):
    """A calibration of TeaCache, and how often the blocks ran for it."""
    jax.effects_barrier()
    before = COUNTER.runs
    calibration = calibrate(
        WEIGHTS, COUNTED, SAMPLES, target=target, cache="tea_cache", **OPTIONS, **more
    )
    jax.effects_barrier()
    return calibration, COUNTER.runs - before


@pytest.fixture(scope="module")
def by_calls():
    return found({"model_calls": WANTED})


@pytest.fixture(scope="module")
def by_psnr(by_calls):
    config = {"coefficients": by_calls[0].cache_config["coefficients"]}
    return found({"psnr": 40.0}, cache_config=config)[0]


def sampled(**options):
    """Each sample alone: model calls of each, and the samples."""
    rows = [
        jax.tree.map(lambda x, i=i: x[i : i + 1], SAMPLES) for i in range(len(noise()))
    ]
    results = [
        sample(WEIGHTS, model=COUNTED, **{**OPTIONS, **row, **options}) for row in rows
    ]
    calls = [int(result.stats.model_calls) for result in results]
    return calls, np.concatenate([result.sample for result in results])


@pytest.mark.slow
def test_no_more_calls_than_asked_for(by_calls):
    """`sample` with the options does what was promised, on the same samples."""
    calibration, _ = by_calls
    calls, cached = sampled(**calibration.options)
    assert calibration.met
    assert np.mean(calls) == calibration.model_calls <= WANTED
    assert 0 < calibration.model_calls < NUM_STEPS
    _, uncached = sampled()
    assert calibration.quality == pytest.approx(decibels(uncached, cached), abs=0.1)
    assert calibration.quality[""] > calibration.baseline[""]
    dearer = [p for p in calibration.curve if p.model_calls > WANTED]
    cheaper = [p for p in calibration.curve if p.model_calls <= WANTED]
    assert dearer
    assert len(cheaper) > 1
    chosen = calibration.cache_config["rel_l1_thresh"]
    assert cheaper[-1].setting == chosen, "a better one was on the curve"


def test_the_cheapest_that_is_good_enough(by_psnr):
    """It reaches the PSNR, and the next cheaper one that was sampled does not."""
    assert by_psnr.met
    _, cached = sampled(**by_psnr.options)
    _, uncached = sampled()
    assert decibels(uncached, cached)[""] >= 40.0
    assert by_psnr.model_calls < NUM_STEPS
    cheaper = [
        point
        for point in by_psnr.curve
        if point.sampled and point.model_calls < by_psnr.model_calls
    ]
    assert cheaper
    assert cheaper[-1].psnr < 40.0


def test_more_thresholds_ask_the_network_no_more(by_calls, monkeypatch):
    """They are replayed: twice as many take not one more run of the blocks."""
    calibration, runs = by_calls
    name, grid = thresholds.SWEPT["tea_cache"]
    finer = {"tea_cache": (name, np.repeat(grid, 2))}
    monkeypatch.setattr(thresholds, "SWEPT", MappingProxyType(finer))
    again, more = found({"model_calls": WANTED})
    assert more == runs
    assert again.cache_config == calibration.cache_config
    # The reference, the trajectories, those that were measured, fewer plain steps.
    count = len(noise())
    measured = sum(point.sampled for point in calibration.curve)
    assert 1 < measured <= 9
    most = NUM_STEPS * (1 + count + count * measured) + WANTED
    assert NUM_STEPS < runs <= most < len(grid) * NUM_STEPS


def test_the_curve_is_sorted_by_cost(by_calls, by_psnr):
    """The cheapest comes first; what was not sampled has no PSNR."""
    for calibration in (by_calls[0], by_psnr):
        calls = [point.model_calls for point in calibration.curve]
        assert calls == sorted(calls)
        assert len(set(calls)) > 3
        assert any(point.sampled for point in calibration.curve)
        assert all(p.sampled == (p.psnr is not None) for p in calibration.curve)


def test_the_table_has_every_setting(by_calls, by_psnr):
    """`str` prints the curve, the setting, plain steps, and R² where one was fitted."""
    calibration, _ = by_calls
    lines = str(calibration).splitlines()
    assert lines[0].split() == ["setting", "model", "calls", "PSNR"]
    for point, line in zip(calibration.curve, lines[2:], strict=False):
        assert f"{point.setting:.4g}" in line
        assert ("sampled" if point.sampled else "replayed") in line
    said = "\n".join(lines[2 + len(calibration.curve) :])
    assert "tea_cache: model_calls 5 met with" in said
    assert "as many plain steps: sample" in said
    assert f"polynomial: R² = {calibration.fit['r_squared']:.3f}" in said
    assert 0 < calibration.fit["r_squared"] <= 1
    assert "R²" not in str(by_psnr), "coefficients were given"


CALIBRATION = Calibration(
    cache="static",
    cache_config={"steps_mask": [True, False], "forecast": {"name": "hold"}},
    target={"psnr": 30.0},
    met=False,
    model_calls=1.0,
    quality={"a": 20.0, "b": 25.0},
    baseline={"a": 19.0, "b": 24.0},
    curve=(
        CurvePoint({"steps": [0], "forecast": {"name": "hold"}}, 1.0, 20.0, True),
        CurvePoint(0.5, 2.0, None, False),
    ),
)


def test_json_has_all_of_it(tmp_path, monkeypatch):
    """What is saved is the calibration, and no reader ever sees half of it."""
    renamed = []
    real = os.replace

    def replace(old, new):
        assert not new.exists()
        renamed.append((old.name, json.loads(old.read_text())))
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "folder" / "found.json"
    CALIBRATION.save(path)
    assert [one.name for one in path.parent.iterdir()] == ["found.json"]
    ((temporary, written),) = renamed
    assert temporary != "found.json"
    again = json.loads(path.read_text())
    assert again == written == CALIBRATION.to_json()
    curve = tuple(CurvePoint(**point) for point in again.pop("curve"))
    assert Calibration(**again, curve=curve) == CALIBRATION


def test_a_target_that_is_not_met_says_so():
    """Not met is said in capitals; a schedule is told by steps and forecast."""
    said = str(CALIBRATION)
    assert "psnr 30 NOT met" in said
    assert "0: hold" in said
    assert "a 20.0, b 25.0 dB; as many plain steps: a 19.0, b 24.0 dB" in said


def test_a_target_that_nobody_reaches_says_the_best_found(by_calls):
    """A named error, with what came nearest: its options sample as it says."""
    config = {"coefficients": by_calls[0].cache_config["coefficients"]}
    with pytest.raises(TargetNotReached) as unreached:
        found({"model_calls": 0.5}, cache_config=config)
    best, said = unreached.value.best, str(unreached.value)
    assert not best.met
    assert "no setting of 'tea_cache' that was looked at meets model_calls 0.5" in said
    assert f"the nearest makes {best.model_calls:.2f} model calls" in said
    assert best.model_calls == min(p.model_calls for p in best.curve if p.sampled)
    assert f"gives sample {best.quality['']:.1f} dB" in said
    calls, _ = sampled(**best.options)
    assert np.mean(calls) == best.model_calls
    again = pickle.loads(pickle.dumps(TargetNotReached(CALIBRATION)))
    assert again.best == CALIBRATION


def test_calibrations_are_json(by_calls):
    """All of a real one goes through JSON and comes back."""
    calibration, _ = by_calls
    # Settings that skip nothing are infinitely near, which JSON has no word for.
    again = json.loads(json.dumps(calibration.to_json(), allow_nan=False))
    threshold = calibration.options["cache_config"]["rel_l1_thresh"]
    assert again["cache_config"]["rel_l1_thresh"] == threshold
    for where in (again["cache_config"], again["fit"]):
        assert where["coefficients"] == list(calibration.fit["coefficients"])
    assert len(again["curve"]) == len(calibration.curve)

"""Tables by budget, as a backend."""

from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from jax_stepcache import (
    BespokeBackend,
    Params,
    Pipeline,
    Request,
    TableFamily,
    as_table,
    flow_schedule,
    get_cache_backend,
    load_params,
    sample,
    sample_many,
)
from jax_stepcache.network.protocol import TunedTable
from tests.small_model import SmallModel, small_noise, small_params

TABLES = {
    "action": as_table("euler", flow_schedule(4, 2.0)),
    "video": as_table("unipc", flow_schedule(4, 3.0)),
}

OTHERS = {name: as_table("euler", flow_schedule(4, 5.0)) for name in TABLES}
BY_SHIFT = TableFamily("shift", (2.0, 4.0), (TABLES, OTHERS))


@dataclass(frozen=True)
class TabledModel(SmallModel):
    """The small model, with a table of 4 calls that wins or does not."""

    wins: bool = True
    family: bool = False

    def bespoke(self, budget):
        if budget != 4:
            raise ValueError(
                f"there is no table of {budget} model calls; there are [4]"
            )
        tables = BY_SHIFT if self.family else TABLES
        return TunedTable(tables, 16, self.wins)


def params(wins=True, family=False):
    return Params(small_params().weights, TabledModel(wins=wins, family=family))


NOISE = small_noise(2)


@pytest.fixture(scope="module")
def wanted():
    return sample(params(), noise=NOISE, schedule=TABLES)


def check_same(result, wanted):
    for name, end in wanted.sample.items():
        np.testing.assert_array_equal(result.sample[name], end)
    assert np.ravel(result.stats.model_calls)[0] == 4


def test_a_budget_names_a_table(wanted):
    """By name, as a backend, in a pipeline, and with 16 steps named that it is for."""
    check_same(sample(params(), noise=NOISE, cache="bespoke", budget=4), wanted)
    backend = BespokeBackend({"budget": 4})
    check_same(sample(params(), noise=NOISE, cache=backend), wanted)
    config = {"table": TABLES}
    check_same(
        sample(params(), noise=NOISE, cache="bespoke", cache_config=config), wanted
    )
    pipeline = Pipeline(params(), cache_backend="bespoke", cache_config={"budget": 4})
    check_same(pipeline(noise=NOISE), wanted)
    pipeline.cache_backend.refresh(pipeline, 16)
    given = sample(
        params(), noise=NOISE, cache="bespoke", budget=4, num_inference_steps=16
    )
    check_same(given, wanted)


@pytest.mark.parametrize("cache", ["bespoke", "tuned"])
def test_a_budget_names_a_family(cache, wanted):
    """The shift that is asked for picks among a model's tables; nothing else may be."""
    given = {"noise": NOISE, "cache": cache, "budget": 4}
    check_same(sample(params(family=True), shift=2.0, **given), wanted)
    other = sample(params(family=True), shift=4.0, **given)
    by_hand = sample(params(), noise=NOISE, schedule=OTHERS)
    check_same(other, by_hand)
    if cache == "bespoke":
        with pytest.raises(ValueError, match="solver is 'euler'"):
            sample(params(family=True), solver="euler", **given)


def test_each_sample_and_requests_too(wanted):
    """In a batch that decides apart, and through slots."""
    options = {"cache": "bespoke", "budget": 4}
    check = sample(params(), noise=NOISE, decide="sample", **options)
    for name, end in wanted.sample.items():
        np.testing.assert_allclose(check.sample[name], end, atol=2e-6)
    requests = [
        Request(noise=jax.tree.map(lambda x, i=i: x[i : i + 1], NOISE))
        for i in range(2)
    ]
    observation = SmallModel().example(jax.random.key(0))
    results = sample_many(
        params(), requests, observation=observation, slots=2, **options
    )
    alone = sample(
        params(), noise=requests[1].noise, observation=observation, **options
    )
    for name, end in alone.sample.items():
        np.testing.assert_allclose(results[1].sample[name], end, atol=2e-6)


def test_tuned_is_whatever_won(wanted):
    """The table where it won and nothing else is asked; else the schedule."""
    tuned = {"noise": NOISE, "cache": "tuned", "budget": 4}
    check_same(sample(params(), **tuned), wanted)
    steps = [0, 2, 6, 11]
    for one, more in (
        (params(wins=False), {}),
        (params(), {"forecast": "hold"}),
        (params(), {"solver": "unipc"}),
        (params(), {"shift": 2.0}),
        (small_params(), {}),
    ):
        computed = sample(one, **tuned, **more).stats.computed
        assert np.flatnonzero(computed).tolist() == steps, more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs either a budget"),
        ({"budget": 5}, "no table of 5 model calls"),
        ({"budget": 4, "cache_config": {"table": TABLES}}, "needs either a budget"),
        ({"budget": 4, "forecast": "hold"}, "forecast goes with a cache that skips"),
        ({"budget": 4, "shift": 3.0}, "brings its own solver and noise levels"),
        ({"budget": 4, "solver": "euler"}, "brings its own solver and noise levels"),
        ({"budget": 4, "num_inference_steps": 8}, "the sampler of 16 steps"),
        ({"cache_config": {"table": {"a": 3}}}, r"\['table'\]\['a'\] is 3"),
        ({"cache_config": {"table": {"sigmas": [1, 0]}}}, "a table has"),
        ({"cache_config": {"table": {"film": TABLES["video"]}}}, "does not fit"),
    ],
)
def test_bad_input(options, message):
    """What does not go with a table is told before anything is compiled."""
    with pytest.raises((TypeError, ValueError), match=message):
        sample(params(), noise=NOISE, cache="bespoke", **options)


def test_models_without_tables():
    """They say what finds one."""
    with pytest.raises(ValueError, match="small has no tables; calibrate"):
        sample(small_params(), noise=NOISE, cache="bespoke", budget=4)
    backend = get_cache_backend("bespoke", {"budget": 4})
    assert isinstance(backend, BespokeBackend)


def test_bundled_models_of_other_sizes_have_none():
    """The tables of the bundled weights are not those of another size."""
    model = load_params("dit").model
    other = replace(model, config=replace(model.config, depth=1))
    with pytest.raises(ValueError, match="no tables for these sizes"):
        other.bespoke(4)

"""Warnings of what is found for another sampler than the one that is asked for."""

import json
import warnings
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import pytest

from jax_stepcache import (
    Params,
    TableFamily,
    as_table,
    calibrate,
    flow_schedule,
    load_params,
    sample,
    save_params,
)
from jax_stepcache.network.protocol import TunedTable
from jax_stepcache.network.tuned import DamagedSettings, TunedFile
from tests.small_model import SmallModel, small_noise, small_params

TABLES = {
    name: as_table("euler", flow_schedule(4, 2.0)) for name in ("action", "video")
}
NOISE = small_noise(2)
BY_SCALE = TableFamily("guidance_scale", (2.0, 4.0), (TABLES, TABLES))


@dataclass(frozen=True)
class Found(SmallModel):
    """The small model, with a table that was found with some options."""

    held: tuple[tuple[str, Any], ...] = ()
    family: bool = False

    def bespoke(self, budget):
        tables = BY_SCALE if self.family else TABLES
        return TunedTable(tables, 16, True, MappingProxyType(dict(self.held)))


def sampled(model, cache, **options):
    params = Params(small_params().weights, model)
    observation = model.example(jax.random.key(0), 2)
    given = {"observation": observation, "noise": NOISE, "cache": cache, "budget": 4}
    return sample(params, **given, **options)


@pytest.mark.parametrize("cache", ["bespoke", "tuned"])
@pytest.mark.parametrize(
    ("held", "asked", "named"),
    [
        ({}, {"guidance_scale": 6.0}, r"guidance_scale is 6\.0, .* found with 2\.0"),
        ({"guidance_scale": 4.0}, {}, r"guidance_scale is 2\.0, .* found with 4\.0"),
        ({}, {"guidance_scale": [2.0, 3.0]}, "guidance_scale is"),
        (
            {"guidance_scale": 3.0},
            {"guidance_scale": 3.0, "guidance_interval": (0.2, 0.8)},
            "guidance_interval is .* found without one",
        ),
    ],
)
def test_a_table_of_other_guidance_is_told(cache, held, asked, named):
    """By the option that differs, with what it was found with."""
    model = Found(held=tuple(held.items()))
    with pytest.warns(UserWarning, match=named):
        sampled(model, cache, **asked)


def test_a_schedule_of_another_shift_is_told():
    """`tuned` takes it where a table would bring a shift of its own."""
    with pytest.warns(UserWarning, match=r"shift is 2\.0, .* found with 5\.0"):
        sampled(Found(), "tuned", shift=2.0)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (Found(), {}),
        (Found(), {"guidance_scale": 2.0, "shift": None}),
        (Found(held=(("guidance_scale", 4.0),)), {"guidance_scale": 4.0}),
        (Found(family=True), {"guidance_scale": 3.0}),
    ],
)
def test_what_it_was_found_for_is_no_matter(model, asked):
    """Nor a family, which has a table for each value."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampled(model, "bespoke", **asked)
        sampled(model, "tuned", **asked)


@dataclass(frozen=True)
class Kept(SmallModel):
    """The small model, with a file."""

    file: TunedFile | None = None

    def bespoke(self, budget):
        return self.file.table(budget)

    def tuned(self, budget):
        return self.file.schedule(budget)


def test_a_damaged_table_is_told(tmp_path):
    """`tuned` takes the schedule where there is no table, not where one is broken."""
    schedules = {"4": {"steps": [0, 2, 6, 11], "forecast": {"name": "hold"}}}
    found = {"num_steps": 16, "schedules": schedules}
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps(found))
    model = Kept(file=TunedFile(path))
    assert sampled(model, "tuned").stats.computed.sum() == 4
    table = {"table": {"sigmas": [0, 1]}, "wins": True}
    path.write_text(json.dumps({**found, "tables": {"4": table}}))
    with pytest.raises(DamagedSettings, match="its table of 4 calls"):
        sampled(model, "tuned")
    params, target = Params(small_params().weights, model), {"model_calls": 4}
    for cache in ("bespoke", "tuned"):
        path.write_text(json.dumps({**found, "schedules": {"4": {}}}))
        with pytest.raises(DamagedSettings, match="its schedule of 4 calls"):
            calibrate(params, cache=cache, target=target, samples=4)


def test_weights_from_elsewhere_are_told(tmp_path):
    """Once, where they are loaded: the model's own tables were found for others."""
    params = load_params("dit")
    save_params(tmp_path / "same", params)
    weights = jax.tree.map(lambda x: 1.02 * x, params.weights)
    save_params(tmp_path / "other", Params(weights, params.model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_params(tmp_path / "same")
        load_params(tmp_path / "other", dtype="bfloat16")
    with pytest.warns(UserWarning, match="not the weights that dit's own"):
        load_params(tmp_path / "other")


def test_worlds_of_other_sizes_have_no_tables():
    """What was found for the bundled weights is for no other network."""
    from jax_stepcache.models.tabletop import TabletopModel, tabletop_config

    for sizes, there in ((tabletop_config(), True), (tabletop_config(48), False)):
        model = TabletopModel(sizes)
        assert model.is_bundled == there
        for find in (model.tuned, model.bespoke):
            if there:
                assert find(4).num_steps == 16
                continue
            with pytest.raises(ValueError, match=r"no .* for these\s+sizes"):
                find(4)

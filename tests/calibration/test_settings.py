"""One file for what calibrations found, and where it came from."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Calibration,
    calibrate,
    family_of,
    load_settings,
    sample,
    save_settings,
)
from jax_stepcache.network.found_for import weights_mark
from jax_stepcache.network.tuned import TunedFile

WEIGHTS = {"w": jnp.linspace(-1, 1, 16).reshape(4, 4)}
NOISE = jnp.linspace(-1, 1, 32).reshape(8, 4)
OPTIONS = {"num_inference_steps": 6, "solver": "euler"}


def network(weights, x, t, condition):
    return jnp.tanh(x @ weights["w"] + t[:, None] / 1000)


@pytest.fixture(scope="module")
def found():
    """A table and a schedule of 3 calls."""
    given = {"samples": {"noise": NOISE}, "target": {"model_calls": 3}, **OPTIONS}
    fit = {"steps": 20, "seconds": None, "learning_rate": 1e-2}
    table = calibrate(WEIGHTS, network, cache="bespoke", fit=fit, **given)
    mask = [True, False, True, False, True, False]
    config = {"steps_mask": mask, "forecast": {"name": "linear", "damping": 1.0}}
    target, quality = {"model_calls": 3}, {"": 20.0}
    tuned = Calibration("static", config, target, True, 3.0, quality, quality, ())
    sampler, steps = OPTIONS, {"steps": [0, 2, 4]}
    return table, dataclasses.replace(tuned, sampler=sampler, fit=steps)


def sampled(**options):
    return sample(WEIGHTS, model=network, noise=NOISE, **options)


@pytest.mark.slow
def test_what_won_is_sampled(tmp_path, found):
    """Saved and loaded, it gives the sample that the calibration's options give."""
    table, tuned = found
    file = tmp_path / "deep" / "settings.json"
    save_settings(file, table)
    loaded = load_settings(file, WEIGHTS)
    wanted = sampled(**table.options)
    given = sampled(**loaded.options(3))
    np.testing.assert_array_equal(given.sample, wanted.sample)
    save_settings(file, tuned)
    assert load_settings(file).table(3).wins
    assert loaded.options(3)["cache"] == "bespoke"
    lost = {"tuned": {name: x + 1 for name, x in table.quality.items()}}
    fit = {**table.fit, "starts": lost}
    save_settings(file, dataclasses.replace(table, fit=fit))
    options = loaded.options(3)
    assert options["cache"] == "static"
    np.testing.assert_array_equal(
        sampled(**options).sample, sampled(**tuned.options).sample
    )
    assert [one.name for one in file.parent.iterdir()] == ["settings.json"]


@pytest.mark.slow
def test_what_is_known_is_where_a_fit_starts(tmp_path, found):
    """A schedule and a table in a file are starts for a network of one's own.

    What the schedule reaches on the held-out samples then decides which of both wins.
    """
    file = tmp_path / "settings.json"
    save_settings(file, *found)
    given = {"samples": {"noise": NOISE}, "target": {"model_calls": 3}, **OPTIONS}
    fit = {"steps": 1, "seconds": None, "known": file}
    again = calibrate(WEIGHTS, network, cache="bespoke", fit=fit, **given)
    assert {"tuned", "bespoke"} <= {one.setting for one in again.curve}
    assert again.fit["start"] in {"tuned", "bespoke"}
    save_settings(file, again)
    assert json.loads(file.read_text())["tables"]["3"]["rival"].keys() == {""}
    fit = {**fit, "known": tmp_path / "none.json"}
    with pytest.raises(FileNotFoundError, match="no file of settings"):
        calibrate(WEIGHTS, network, cache="bespoke", fit=fit, **given)


def test_provenance_is_kept(tmp_path, found):
    """Which weights, how many samples, against what, when, how near, how sure."""
    file = tmp_path / "settings.json"
    save_settings(file, *found)
    told = json.loads(file.read_text())["tables"]["3"]["provenance"]
    assert told["weights"] == weights_mark(WEIGHTS)
    assert told["samples"] == 8
    assert told["held_out"] == 2
    assert told["reference_steps"] == 6
    assert set(told["quality"]) == set(told["spread"]) == set(told["plain"]) == {""}
    assert told["date"].count("-") == 2


def test_tables_of_other_weights_are_told(tmp_path, found):
    """A table is of the weights that it was found for."""
    file = tmp_path / "settings.json"
    save_settings(file, found[0])
    with pytest.raises(ValueError, match="for other weights"):
        load_settings(file, {"w": WEIGHTS["w"] + 1})
    assert load_settings(file).path == file


def test_damaged_files(tmp_path, found):
    """What is no file of settings is told by name, and is not written over."""
    file = tmp_path / "settings.json"
    with pytest.raises(FileNotFoundError, match="no file of settings"):
        load_settings(file)
    save_settings(file, found[0])
    with pytest.raises(ValueError, match="no table of 5 model calls"):
        load_settings(file).table(5)
    whole = json.loads(file.read_text())
    for damage, message in (
        ({"num_steps": None}, "num_steps"),
        ({"tables": {"3": {}}}, "its table of 3 calls"),
        ({"tables": {"4": whole["tables"]["3"]}}, "makes 3"),
        ({"tables": {"x": {}}}, "'tables' has"),
    ):
        file.write_text(json.dumps({**whole, **damage}))
        with pytest.raises(ValueError, match=message):
            load_settings(file)
    file.write_text("{")
    for use in (load_settings, lambda path: save_settings(path, found[0])):
        with pytest.raises(ValueError, match="is not JSON"):
            use(file)
    assert file.read_text() == "{"
    file.write_text(json.dumps({**whole, "num_steps": 16}))
    with pytest.raises(ValueError, match="is of 16 steps"):
        save_settings(file, found[0])
    with pytest.raises(FileExistsError, match="is a folder"):
        save_settings(tmp_path, found[0])
    with pytest.raises(TypeError, match="no Calibration"):
        save_settings(tmp_path / "new.json", {"cache": "bespoke"})  # pyright: ignore
    assert not (tmp_path / "new.json").exists()


def test_noise_levels_stand_beside(tmp_path):
    """Those of plain steps are in the same file, with their solver and provenance."""
    file = tmp_path / "settings.json"
    fit = {"steps": 20, "seconds": None, "learning_rate": 1e-2}
    given = {"samples": {"noise": NOISE}, "target": {"model_calls": 3}, **OPTIONS}
    found = calibrate(WEIGHTS, network, cache="none", fit=fit, **given)
    save_settings(file, found)
    levels = load_settings(file, WEIGHTS).levels(3)
    assert levels == (found.options["schedule"], "euler")
    told = json.loads(file.read_text())["optimised"]["3"]["provenance"]
    assert (told["samples"], told["held_out"]) == (8, 2)
    with pytest.raises(ValueError, match="for other weights"):
        load_settings(file, {"w": WEIGHTS["w"] + 1})
    with pytest.raises(ValueError, match=r"no optimised .* 4 steps; there are \[3\]"):
        load_settings(file).levels(4)
    whole = json.loads(file.read_text())
    for damage, message in (
        ({}, "its levels of 3 steps: 'schedule'"),
        ({**whole["optimised"]["3"], "schedule": {"sigmas": [1, 0]}}, "levels of 3"),
    ):
        file.write_text(json.dumps({**whole, "optimised": {"3": damage}}))
        with pytest.raises(ValueError, match=message):
            load_settings(file)


def test_a_family_is_kept_as_one(tmp_path, found):
    """Saved and loaded, each scale gives what lies between the tables."""
    table, tuned = found

    def at(scale, rate, **changed):
        one = table.cache_config["table"]
        moved = one._replace(velocities=one.velocities * rate)
        options = {"sampler": {"guidance_scale": scale}, **changed}
        config = {"table": moved}
        return dataclasses.replace(table, cache_config=config, **options)

    some = [at(1.5, 1.0), at(3.0, 0.9)]
    file = tmp_path / "settings.json"
    save_settings(file, tuned, some)
    loaded = load_settings(file, WEIGHTS)
    text = {"condition": NOISE, "negative_condition": -NOISE}
    family = family_of(*some)
    for scale in (1.5, 2.0, 3.0):
        wanted = sampled(schedule=family, guidance_scale=scale, **text)
        given = sampled(**loaded.options(3), guidance_scale=scale, **text)
        np.testing.assert_array_equal(given.sample, wanted.sample)
    told = json.loads(file.read_text())["tables"]["3"]
    assert [one["samples"] for one in told["provenance"]["each"]] == [8, 8]
    assert told["wins"]
    rival = {"tuned": {name: x + 1 for name, x in table.quality.items()}}
    lost = at(4.0, 0.8, fit={**table.fit, "starts": rival})
    save_settings(file, [*some, lost])
    assert not load_settings(file).table(3).wins, "one scale is behind"
    with pytest.raises(ValueError, match="for other weights"):
        load_settings(file, {"w": WEIGHTS["w"] + 1})
    before = file.read_text()
    mark = {**table.fit["provenance"], "weights": "0"}
    others = at(4.0, 0.8, fit={**table.fit, "provenance": mark})
    for wrong, message in (
        ([some[0], others], "found for several weights"),
        ([some[0], some[0]], "a family is of two calibrations"),
        ([tuned, tuned], "a family is of two calibrations"),
        ([], "a family is of two calibrations"),
    ):
        with pytest.raises(ValueError, match=message):
            save_settings(file, wrong)
    assert file.read_text() == before


def test_thresholds_stand_beside(tmp_path):
    """Settings of a backend are in the same file, by the backend's name."""
    file = tmp_path / "settings.json"
    config = {"rel_l1_thresh": 0.2}
    one = Calibration(
        "tea_cache", config, {"model_calls": 4}, True, 4.0, {"": 30.0}, {}, ()
    )
    save_settings(file, dataclasses.replace(one, fit={"num_steps": 6}))
    assert TunedFile(file).settings("tea_cache") == config

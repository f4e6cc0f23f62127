"""What a file of settings says of a table or a schedule: which won, and for what."""

import json

import pytest

from jax_stepcache import (
    Calibration,
    as_table,
    family_of,
    flow_schedule,
    load_settings,
    save_settings,
)

TABLE = as_table("unipc", flow_schedule(3))
CONFIG = {
    "steps_mask": [True, False, True, False, True, False],
    "forecast": {"name": "linear", "damping": 1.0},
}


def provenance(weights="0"):
    return {"model": None, "weights": weights, "date": "2026-12-01"}


def table(decibels, sampler=None, starts=None, table=TABLE, num_steps=6):
    fit = {
        "starts": starts or {},
        "spread": {"": 1.0},
        "samples": 8,
        "held_out": 2,
        "reference_steps": num_steps,
        "num_steps": num_steps,
        "provenance": provenance(),
    }
    found = {"quality": {"": decibels}, "baseline": {"": 1.0}, "sampler": sampler or {}}
    target, config = {"model_calls": 3}, {"table": table}
    return Calibration("bespoke", config, target, True, 3.0, curve=(), fit=fit, **found)


def schedule(decibels, sampler=None, steps=(0, 2, 4)):
    fit = {"steps": list(steps), "samples": 8, "provenance": provenance()}
    found = {"quality": {"": decibels}, "baseline": {"": 1.0}, "sampler": sampler or {}}
    target = {"model_calls": 3}
    return Calibration("static", CONFIG, target, True, 3.0, curve=(), fit=fit, **found)


@pytest.mark.parametrize("first", ["table", "schedule"])
@pytest.mark.parametrize(("ours", "won"), [(21.0, "bespoke"), (19.0, "static")])
def test_whichever_came_nearer_is_taken(tmp_path, first, ours, won):
    """In whatever order both are saved; no model need have a schedule of its own."""
    file = tmp_path / "settings.json"
    both = [table(ours), schedule(20.0)]
    save_settings(file, *(both if first == "table" else both[::-1]))
    assert load_settings(file).options(3)["cache"] == won
    assert load_settings(file).table(3).wins == (won == "bespoke")


def test_what_was_measured_on_held_out_samples_counts_most(tmp_path):
    """The known schedule's figure there, while it is that schedule that is kept."""
    file = tmp_path / "settings.json"
    save_settings(file, schedule(25.0), table(21.0, starts={"tuned": {"": 20.0}}))
    assert load_settings(file).options(3)["cache"] == "bespoke"
    save_settings(file, schedule(25.0))
    assert load_settings(file).options(3)["cache"] == "bespoke"
    save_settings(file, schedule(25.0, steps=(0, 1, 3)))
    assert load_settings(file).options(3)["cache"] == "static"


def test_files_from_before_say_it_themselves(tmp_path):
    """Where a schedule's quality is not known, what the table says stands."""
    file = tmp_path / "settings.json"
    for wins in (True, False):
        save_settings(file, table(21.0), schedule(20.0))
        old = json.loads(file.read_text())
        del old["schedules"]["3"]["provenance"]
        old["tables"]["3"]["wins"] = wins
        del old["tables"]["3"]["provenance"]["sampler"]
        file.write_text(json.dumps(old))
        assert load_settings(file).table(3).holds_for == {}
        won = "bespoke" if wins else "static"
        assert load_settings(file).options(3)["cache"] == won


def test_a_table_without_error_is_ahead(tmp_path):
    """Infinite decibels are null in JSON, and more than any."""
    file = tmp_path / "settings.json"
    save_settings(file, table(float("inf")), schedule(20.0))
    assert load_settings(file).table(3).wins
    save_settings(file, schedule(float("inf")))
    assert not load_settings(file).table(3).wins, "level is not ahead"


def test_the_guidance_that_it_was_found_with_is_kept(tmp_path):
    """Sampled again, it is the sampler that was calibrated, and not the model's own."""
    file = tmp_path / "settings.json"
    guidance = {"guidance_scale": 4.0, "guidance_interval": (0.2, 0.9)}
    save_settings(file, table(21.0, {**guidance, "decide": "batch"}))
    options = load_settings(file).options(3)
    assert options.pop("cache_config").keys() == {"table"}
    assert options.pop("cache") == "bespoke"
    assert {name: _plain(x) for name, x in options.items()} == guidance
    told = json.loads(file.read_text())["tables"]["3"]["provenance"]["sampler"]
    assert told == {"guidance_scale": 4.0, "guidance_interval": [0.2, 0.9]}
    # A schedule of another scale is another sampler's: neither is ahead of the other.
    save_settings(file, schedule(30.0))
    assert load_settings(file).options(3)["cache"] == "bespoke"


def test_a_schedule_keeps_its_sampler(tmp_path):
    """Shift, solver and guidance; or noise levels, which bring their step count."""
    file = tmp_path / "settings.json"
    given = {"shift": 2.0, "solver": "euler", "guidance_scale": 3.0}
    save_settings(file, schedule(20.0, {**given, "num_inference_steps": 6}))
    options = load_settings(file).options(3)
    assert options["num_inference_steps"] == 6
    assert {name: options[name] for name in given} == given
    levels = flow_schedule(6, 3.0)
    save_settings(file, schedule(20.0, {"schedule": levels}))
    options = load_settings(file).options(3)
    assert "num_inference_steps" not in options
    assert options["schedule"] == levels
    save_settings(file, schedule(20.0, {"schedule": "karras"}))
    options = load_settings(file).options(3)
    assert (options["schedule"], options["num_inference_steps"]) == ("karras", 6)


def test_a_family_keeps_what_its_tables_share(tmp_path):
    """All but the option that it is over, which is asked for each time."""
    file = tmp_path / "settings.json"
    shared = {"guidance_interval": (0.2, 0.9)}
    some = [table(21.0, {**shared, "guidance_scale": at}) for at in (1.5, 4.0)]
    save_settings(file, some)
    assert load_settings(file).table(3).holds_for == {"guidance_interval": [0.2, 0.9]}
    each = json.loads(file.read_text())["tables"]["3"]["provenance"]["each"]
    assert [one["sampler"]["guidance_scale"] for one in each] == [1.5, 4.0]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"num_steps": 8}, r"num_steps: \[6, 8\]"),
        ({"sampler": {"guidance_interval": (0.2, 0.9)}}, "guidance_interval"),
        ({"sampler": {"solver": "euler"}}, "solver"),
    ],
)
def test_a_family_is_of_one_sampler(other, named):
    """But for the option that it is over, its tables stand for the same."""
    sampler = {"guidance_scale": 4.0, **other.pop("sampler", {})}
    unlike = table(21.0, sampler, **other)
    with pytest.raises(ValueError, match=f"differ in {named}"):
        family_of(table(21.0, {"guidance_scale": 1.5}), unlike)
    alike = table(21.0, {"guidance_scale": 4.0})
    assert family_of(table(21.0, {"guidance_scale": 1.5}), alike).at == (1.5, 4.0)


def test_a_damaged_sampler_is_told(tmp_path):
    """By what it belongs to."""
    file = tmp_path / "settings.json"
    save_settings(file, schedule(20.0))
    found = json.loads(file.read_text())
    for damage in (3, {"schedule": {"sigmas": [1, 0]}}):
        found["schedules"]["3"]["provenance"]["sampler"] = damage
        file.write_text(json.dumps(found))
        with pytest.raises(ValueError, match="the sampler of its schedule of 3 calls"):
            load_settings(file).options(3)


def _plain(given):
    return tuple(given) if isinstance(given, list) else given

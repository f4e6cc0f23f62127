"""What a user copies runs, and prints what it says it shows."""

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import jax_stepcache

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.fixture
def printed(capsys):
    """Runs a script as if it were the program, and gives what it printed."""

    def run(name):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def calls(text):
    """Model calls and steps, of every result that was printed."""
    found = re.findall(r"(\d+) of (\d+) steps ran the model", text)
    return [(int(ran), int(steps)) for ran, steps in found]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_says_what_it_shows(script):
    """A docstring of one sentence, a line in the README, a test; to be read at once."""
    text = script.read_text()
    said = ast.get_docstring(ast.parse(text))
    assert said
    assert len(said.splitlines()) == 1
    assert 20 <= len(text.splitlines()) <= 70
    assert f"`{script.name}`" in (FOLDER / "README.md").read_text()
    assert f'printed("{script.stem}")' in Path(__file__).read_text()


def test_own_network(printed):
    """Uncached every step runs; cached, some do, whatever the forecast."""
    uncached, *cached = calls(printed("own_network"))
    assert uncached == (16, 16)
    assert len(cached) == 2
    assert all(2 <= ran < steps for ran, steps in cached)


def test_own_network_in_stages(printed):
    """Both settings skip the middle blocks at some steps, and warm up at first."""
    text = printed("own_network_in_stages")
    assert all(4 <= ran < 16 for ran, _ in calls(text))
    strips = re.findall(r"Stats\(([█·]+)", text)
    assert len(strips) == 2
    assert all(strip.startswith("████") for strip in strips)


def test_compose_a_policy(printed):
    """It does as it was composed: warm-up, last step, at most three in a row."""
    text = printed("compose_a_policy")
    strips = dict(re.findall(r"^(\S+), conditional +([█·]+)$", text, re.MULTILINE))
    assert set(strips) == {"mine", "tea_cache"}
    mine = strips["mine"]
    assert mine.startswith("██")
    assert mine.endswith("█")
    assert "···" in mine
    assert "····" not in mine


@pytest.mark.slow
def test_reward_gradient(printed):
    """The reward rises at every look, and digits become nearer to the target's mean."""
    text = printed("reward_gradient")
    rewards = [float(x) for x in re.findall(r"reward +(-[\d.]+)", text)]
    assert len(rewards) == 4
    assert rewards == sorted(rewards)
    first, *_, last = re.findall(r"nearest to \[(.*)\]", text)
    assert first.count("3") < last.count("3")
    assert last.count("3") >= 2


@pytest.mark.slow
def test_many_requests(printed):
    """Requests differ in steps and in calls; slots serve several in a network call."""
    text = printed("many_requests")
    each = calls(text)
    assert {steps for _, steps in each} == {8, 12, 16}
    assert len({ran for ran, _ in each}) > 1
    (shown,) = re.findall(r"(\d+) network calls from 0 on, (\d+) of (\d+) pl", text)
    made, served, places = map(int, shown)
    assert served == sum(ran for ran, _ in each)
    assert places == 4 * made
    assert served > places / 2


@pytest.mark.slow
def test_server_for_threads(printed):
    """Every client is answered, in order; the wrong request fails alone."""
    text = printed("server_for_threads")
    assert re.findall(r"client (\d)", text) == list("01234567")
    assert all(ran < steps == 16 for ran, steps in calls(text))
    assert "refused: observation['label'] has 11" in text


@pytest.mark.slow
def test_checkpoints(printed):
    """What was written is what is read; another precision is near."""
    text = printed("checkpoints")
    assert "the same weights: True" in text
    assert "the same model: True" in text
    (off,) = re.findall(r"([\d.]+) off in the mean", text)
    assert 0 < float(off) < 0.05


@pytest.mark.slow
def test_sweep_thresholds(printed):
    """One trace serves all thresholds; a higher one computes more, and is nearer."""
    text = printed("sweep_thresholds")
    rows = re.findall(r"([\d.]+): +(\d+) calls, +([\d.]+) dB", text)
    assert len(rows) == 6
    ran = [int(row[1]) for row in rows]
    near = [float(row[2]) for row in rows]
    assert ran == sorted(ran)
    assert near == sorted(near)
    assert ran[0] < ran[-1]
    assert "1 trace for 6 thresholds" in text


@pytest.mark.slow
def test_control_loop(printed):
    """The robot arrives, with a quarter of the network's calls."""
    text = printed("control_loop")
    assert all(ran <= 5 for ran, _ in calls(text))
    assert text.endswith("the block is within reach\n")


@pytest.mark.slow
def test_tabletop_client(printed):
    """The robot arrives, through the socket; the server counts what was skipped."""
    pytest.importorskip("starlette")
    text = printed("tabletop_client")
    assert "'policy': 'tabletop'" in text
    assert all(ran <= 5 for ran, _ in calls(text))
    assert "the block is within reach" in text
    (skipped,) = re.findall(r"robots_network_calls_skipped_total ([\d.]+)", text)
    assert float(skipped) == sum(steps - ran for ran, steps in calls(text))


@pytest.mark.slow
def test_ray_batch(printed, tmp_path, monkeypatch):
    """What is written is not sampled again; what is missing is, the same as before."""
    pytest.importorskip("ray.data", reason="needs the extra ray")
    pytest.importorskip("pyarrow", reason="needs the extra ray")
    monkeypatch.setattr(
        "sys.argv", ["ray_batch", "--out", str(tmp_path), "--count", "12"]
    )
    text = printed("ray_batch")
    assert "12 of 12 are not written yet" in text
    assert "12 written by 2 actors" in text
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{i:06}.npy" for i in range(12)]
    first = np.load(files[5])
    files[5].unlink()
    assert "1 of 12 are not written yet" in (text := printed("ray_batch"))
    assert "1 written by 2 actors" in text
    np.testing.assert_allclose(np.load(files[5]), first, atol=1e-4)
    assert printed("ray_batch") == "0 of 12 are not written yet\n"


@pytest.mark.slow
def test_calibrate_a_threshold(printed):
    """The target is met, and the setting is ahead of as many plain steps."""
    text = printed("calibrate_a_threshold")
    assert "cache_dit: model_calls 6 met" in text
    rows = re.findall(r"(calibrated|six plain steps) +(\d+) calls +([\d.]+) dB", text)
    (_, cached, near), (_, plain, far) = rows
    assert int(cached) <= int(plain) == 6
    assert float(near) > float(far)


def test_public_names_are_enough():
    """Nothing that starts with an underscore, and no name that does not exist."""
    for script in SCRIPTS:
        for node in ast.walk(ast.parse(script.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            assert not node.attr.startswith("_"), script.name
            if isinstance(node.value, ast.Name) and node.value.id == "jax_stepcache":
                public = {*jax_stepcache.__all__, "measure", "models"}
                assert node.attr in public, script.name

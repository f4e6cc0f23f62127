"""``jax-stepcache film``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache.cli import film, made
from jax_stepcache.cli.main import main
from jax_stepcache.loop.result import stats_of
from jax_stepcache.models.films import read_film

WORDS = ["film", "a cat", "--params", "folder", "--out", "cat.gif"]
OPTIONS = {
    "--steps": ("num_inference_steps", 4),
    "--schedule": ("schedule", "karras"),
    "--guidance-scale": ("guidance_scale", 3.0),
    "--guidance-scale-2": ("guidance_scale_2", 2.0),
    "--num-frames": ("num_frames", 5),
    "--fit": ("fit", "covered"),
    "--slots": ("slots", 2),
    "--video": ("video", Path("old.mp4")),
    "--strength": ("strength", 0.5),
    "--cache": ("cache", "step_cache"),
    "--seed": ("seed", 7),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a film is made with by the command; none is made."""
    found: dict[str, Any] = {}

    def make(folder: Any, prompt: Any, out: Any, **options: Any) -> Any:
        found.update(options, folder=folder, prompt=prompt, out=out)
        ones = np.ones(4, bool)
        film = SimpleNamespace(stats=stats_of(ones, None, *2 * (0 * ones,), False))
        return {Path(out): film}

    monkeypatch.setattr(film, "model_of_folder", lambda source: source)
    monkeypatch.setattr(film, "offered", lambda model, name: make)
    monkeypatch.setattr(made, "summary", lambda *films, names: "")
    return found


def test_a_film_is_asked_with_what_is_said(asked: dict[str, Any]) -> None:
    """Each option goes under its name; what is not said is not passed on."""
    said = [str(x) for flag, (_, value) in OPTIONS.items() for x in (flag, value)]
    waiting = ["--offload", "experts", "--offload", "text_encoder"]
    between = ["--guidance-interval", "0.1", "0.9"]
    more = [*between, "--devices", "1", "--lora", "low=l.safetensors"]
    assert not main([*WORDS, *said, *waiting, *more])
    assert asked["prompt"] == "a cat"
    assert asked["guidance_interval"] == [0.1, 0.9]
    for name, value in OPTIONS.values():
        assert asked[name] == value, name
    assert asked["loading"]["offload"] == ["experts", "text_encoder"]
    assert asked["loading"]["lora"] == {"low": "l.safetensors"}
    assert asked["loading"]["mesh"].devices.tolist() == jax.devices()[:1]
    assert not asked["progress"]  # Each film is at a step of its own.
    assert "height" not in asked
    assert "shift" not in asked


def test_several_prompts(asked: dict[str, Any]) -> None:
    """Make a film each; steps go by either name."""
    assert not main([*WORDS[:2], "a dog", *WORDS[2:], "--num-inference-steps", "3"])
    assert asked["prompt"] == ["a cat", "a dog"]
    assert asked["num_inference_steps"] == 3
    assert "slots" not in asked


@pytest.mark.usefixtures("asked")
def test_rules_need_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut over nothing; and devices that there are not are told."""
    assert main([*WORDS, "--rules", "tensor"])
    assert main([*WORDS, "--devices", "4096"])
    told = capsys.readouterr().err
    assert "--rules tensor cuts over --devices" in told
    assert "--devices is 4096; there are" in told


@pytest.mark.slow
def test_a_film_and_another_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole: words to a file, that file changed, and several films through slots."""
    for needed in ("tokenizers", "ftfy", "PIL", "imageio"):
        pytest.importorskip(needed)
    from jax_stepcache.models.wan.tiny import write_tiny

    folder = write_tiny(tmp_path / "wan", "t2v-a14b")
    first, second = tmp_path / "cat.mp4", tmp_path / "dog.mp4"
    small = ["--params", str(folder), "--height", "32", "--width", "32"]
    more = ["--num-frames", "5", "--steps", "4", "--offload", "experts"]
    assert not main(["film", "a cat", *small, *more, "--out", str(first)])
    assert read_film(first).shape == (5, 32, 32, 3)
    changed = ["--video", str(first), "--strength", "0.5", "--steps", "4"]
    assert not main(["film", "a dog", *small, *changed, "--out", str(second)])
    assert read_film(second).shape == (5, 32, 32, 3)
    many = ["film", "a cat", "a dog", "a bird", *small, *more[:-2], "--slots", "2"]
    assert not main([*many, "--out", str(tmp_path / "many.gif")])
    for i in range(3):
        assert read_film(tmp_path / f"many-{i}.gif").shape == (5, 32, 32, 3)
    assert main([*many, "--offload", "experts", "--out", str(tmp_path / "no.gif")])
    assert "films by slots may ask both experts" in capsys.readouterr().err


def test_what_is_said_of_nothing(asked, capsys):
    """How much of a LoRA, without one."""
    assert main([*WORDS, "--lora-scale", "0.5"]) == 1
    assert "name its file with --lora" in capsys.readouterr().err
    assert not asked


def test_names_without_weights(capsys):
    """Of published sizes: nothing is downloaded, and it says so."""
    assert main(["film", "a cat", "--params", "wan2.1-t2v-1.3b"]) == 1
    said = capsys.readouterr().err
    assert "'wan2.1-t2v-1.3b' is the name of sizes without weights" in said

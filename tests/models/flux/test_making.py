"""Pictures on disk: what does not fit is told before weights are read."""

import shutil
import warnings

import numpy as np
import pytest

from jax_stepcache.backends import StepCacheBackend
from jax_stepcache.cli import picture
from jax_stepcache.cli.main import main
from jax_stepcache.models.flux import FluxPipeline
from jax_stepcache.models.flux.asking import ask
from jax_stepcache.models.flux.making import make_pictures
from jax_stepcache.models.flux.sizes import RELEASES
from jax_stepcache.models.flux.tiny import write_tiny
from jax_stepcache.solvers.spacings import linear_schedule

pytest.importorskip("PIL")
SIZE = {"height": 32, "width": 32, "num_inference_steps": 3}
DEV = RELEASES["flux.1-dev"]
PHOTO = np.zeros((37, 50, 3), np.uint8)
TENSORS = "diffusion_pytorch_model.safetensors", "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A FLUX whose weights cannot be read: their headers say so themselves."""
    whole = write_tiny(tmp_path_factory.mktemp("flux") / "dev")
    for part in ("text_encoder", "text_encoder_2", "vae"):
        for name in TENSORS:
            if (whole / part / name).exists():
                (whole / part / name).write_bytes(b"damaged")
    return whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": "tea_cach"}, "Did you mean 'tea_cache'"),
        (
            {"cache": "tea_cache", "cache_config": {"rel_l1_tresh": 1}},
            "Did you mean 'rel_l1_thresh'",
        ),
        (
            {"cache": "tea_cache", "cache_config": {"rel_l1_thresh": -1}},
            "rel_l1_thresh is -1",
        ),
        ({"solver": "eulr"}, "Did you mean 'euler'"),
        ({"slots": 0}, "slots is 0"),
        ({"slots": 2, "progress": True}, "leave out progress="),
        (
            {"slots": 2, "cache": "cache_dit", "cache_config": {"block_lists": "each"}},
            "give block_lists='joined'",
        ),
        ({"guidance_scale": "high"}, "guidance_scale is 'high'"),
        ({"true_cfg_scale": 2.0}, "no negative_prompt"),
        ({"schedule": 3}, "schedule"),
        ({"height": 33}, "multiples of 16"),
        ({"schedule": "lineer"}, "Did you mean 'linear'"),
        ({"schedule": 3, "image": PHOTO}, "schedule is 3; with image="),
        ({"schedule": "lineer", "image": PHOTO}, "Did you mean 'linear'"),
        (
            {"height": 4000, "width": 6000, "num_inference_steps": 50},
            "picture is too large",
        ),
        ({"decide": "each"}, "unknown decide 'each'"),
        ({"budget": 3}, "budget=3 goes with"),
    ],
)
def test_options_are_looked_at_before_weights(folder, tmp_path, options, words):
    """It is the option that is told, not the file that will be read later."""
    options = {**SIZE, **options}
    if options.get("schedule") == 3:
        del options["num_inference_steps"]
    with pytest.raises((ValueError, TypeError), match=words):
        make_pictures(folder, "a cat", tmp_path / "a.png", **options)


def test_so_are_options_of_loading(folder, tmp_path):
    """A pipeline's cache, names that there are not; then it is the file."""
    out = tmp_path / "a.png"
    with pytest.raises(ValueError, match="Did you mean 'tea_cache'"):
        make_pictures(folder, "x", out, loading={"cache_backend": "tea_cach"}, **SIZE)
    with pytest.raises(TypeError, match=r"FluxPipeline 'num_image'.*'num_images'"):
        make_pictures(folder, "x", out, **SIZE, num_image=2)
    backend = StepCacheBackend()
    for _ in range(2):  # What is checked is no pipeline that keeps the backend.
        with pytest.raises(ValueError, match="safetensors"):
            make_pictures(folder, "x", out, loading={"cache_backend": backend}, **SIZE)
    assert not list(tmp_path.iterdir())


def test_a_pipeline_of_a_folder_says_so(folder):
    """A cache's name and settings, before the folder is looked at."""
    with pytest.raises(ValueError, match="Did you mean 'tea_cache'"):
        FluxPipeline.from_folder(folder, cache_backend="tea_cach")
    with pytest.raises(ValueError, match="Did you mean 'rel_l1_thresh'"):
        FluxPipeline.from_folder(
            folder, cache_backend="tea_cache", cache_config={"rel_l1_tresh": 1}
        )


def test_the_command_says_so(folder, tmp_path, capsys):
    """Nothing is asked of the file; and nothing is written."""
    asked = ["picture", "x", "--params", str(folder), "--height", "32", "--width", "32"]
    out = ["--out", str(tmp_path / "a.png")]
    assert main([*asked, *out, "--cache", "tea_cach"]) == 1
    assert "Did you mean 'tea_cache'" in capsys.readouterr().err
    shutil.rmtree(folder / "vae")
    assert main([*asked, *out, "--slots", "0"]) == 1
    assert "slots" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_ignores_nothing_that_is_given(folder, tmp_path, capsys):
    """What goes with something that is missing, and names without weights, are told."""
    out = ["--out", str(tmp_path / "a.png")]
    for where, more, words in (
        (folder, ["--negative-prompt", "a dog"], "give --true-cfg-scale"),
        (folder, ["--strength", "0.5"], "is changed: give --image"),
        (folder, ["--lora-scale", "0.5"], "--lora-scale 0.5 is how much of a LoRA"),
        ("flux.1-dev", [], "'flux.1-dev' is the name of sizes without weights"),
        (folder, ["--transformer", "flux.1-dev"], "'flux.1-dev' is the name of sizes"),
    ):
        assert main(["picture", "x", "--params", str(where), *out, *more]) == 1
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_words_that_nothing_leads_away_from():
    """A warning where the scale is too small, and none where it is not."""
    with pytest.warns(UserWarning, match="negative_prompt is not looked at"):
        assert ask(DEV, "x", negative_prompt="y").negatives is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = ask(DEV, "x", negative_prompt="y", true_cfg_scale=2.0)
    assert asked.negatives == ("y",)


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [
        (1030, 1500, (1024, 1488)),  # Whole tokens of its own.
        (4000, 6000, (1168, 1760)),  # Two megapixels, as far as whole tokens go.
        (6000, 4000, (1760, 1168)),
    ],
)
def test_a_photo_is_scaled_to_what_the_network_makes(rows, columns, size):
    """Its own size up to twice the release's pixels; of more these, aspect kept."""
    photo = np.zeros((rows, columns, 3), np.uint8)
    asked = ask(DEV, "x", image=photo)
    assert asked.size == size
    assert size[0] * size[1] <= 2 * 1024**2


def test_a_named_schedule_has_as_many_steps_as_are_asked_for():
    """Also with a picture, of which the last are taken."""
    wanted = linear_schedule(6)
    asked = ask(DEV, "x", schedule="linear", num_inference_steps=6)
    assert asked.schedule == wanted
    begun = {"image": PHOTO, "strength": 0.5}
    asked = ask(DEV, "x", schedule="linear", num_inference_steps=6, **begun)
    assert asked.schedule.sigmas == wanted.sigmas[3:]
    usual = ask(DEV, "x", schedule="linear").schedule
    assert usual.num_steps == DEV.num_inference_steps


def test_other_words_and_schedules(folder, tmp_path, monkeypatch):
    """The command hands them on, by the names that a call has."""
    given = {}

    def make(where, prompt, out, **options):
        given.update(options, prompt=prompt)
        raise ValueError("seen")

    monkeypatch.setattr(picture, "offered", lambda model, name: make)
    out = ["--out", str(tmp_path / "a.png")]
    words = ["x", "--prompt-2", "a longer x", "--params", str(folder)]
    words += ["--schedule", "karras", "--steps", "5"]
    assert main(["picture", *words, *out]) == 1
    assert (given["prompt"], given["prompt_2"]) == ("x", "a longer x")
    assert (given["schedule"], given["num_inference_steps"]) == ("karras", 5)

"""Pictures on disk: what does not fit is told before weights are read."""

import shutil

import pytest

from jax_stepcache.backends import StepCacheBackend
from jax_stepcache.cli.main import main
from jax_stepcache.models.flux import FluxPipeline
from jax_stepcache.models.flux.making import make_pictures
from jax_stepcache.models.flux.tiny import write_tiny

SIZE = {"height": 32, "width": 32, "num_inference_steps": 3}
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
        ({"decide": "each"}, "unknown decide 'each'"),
        ({"budget": 3}, "budget=3 goes with"),
    ],
)
def test_options_are_looked_at_before_weights(folder, tmp_path, options, words):
    """It is the option that is told, not the file that will be read later."""
    options = {**SIZE, **options}
    if "schedule" in options:
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

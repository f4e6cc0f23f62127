"""A film on disk: what does not fit is told before weights are read."""

import pytest

from jax_stepcache.cli.main import main
from jax_stepcache.models.wan import WanPipeline
from jax_stepcache.models.wan.making import make_films
from jax_stepcache.models.wan.tiny import write_tiny

pytest.importorskip("imageio")
SIZE = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two experts whose encoders cannot be read: their headers say so themselves."""
    whole = write_tiny(tmp_path_factory.mktemp("wan") / "a14b", "t2v-a14b")
    files = [*(whole / "text_encoder").iterdir(), *(whole / "vae").iterdir()]
    for file in files:
        if file.suffix == ".safetensors":
            file.write_bytes(b"damaged")
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
            {"cache": "tea_cache", "cache_config": {"high": {"rel_l1_tresh": 1}}},
            r"cache_config\['?high'?\].*Did you mean 'rel_l1_thresh'",
        ),
        ({"solver": "eulr"}, "Did you mean 'euler'"),
        ({"guidance_scale": "high"}, "guidance_scale is 'high'"),
        ({"guidance_interval": (2, 1)}, "guidance_interval"),
        ({"sigmas": "karas"}, "unknown sigmas 'karas'"),
        ({"num_frames": 6}, "num_frames"),
        ({"decide": "each"}, "unknown decide 'each'"),
        ({"budget": 3}, "budget=3 goes with"),
        ({"cache": "tuned", "budget": 9}, "no tuned schedules, neither of 9"),
    ],
)
def test_options_are_looked_at_before_weights(folder, tmp_path, options, words):
    """It is the option that is told, not the file that will be read later."""
    with pytest.raises((ValueError, TypeError), match=words):
        make_films(folder, "a cat", tmp_path / "a.gif", **{**SIZE, **options})


def test_so_are_options_of_loading(folder, tmp_path):
    """A pipeline's cache, names that there are not; then it is the file."""
    out = tmp_path / "a.gif"
    with pytest.raises(ValueError, match="Did you mean 'tea_cache'"):
        make_films(folder, "x", out, loading={"cache_backend": "tea_cach"}, **SIZE)
    with pytest.raises(TypeError, match=r"WanPipeline 'frames'.*Did you mean 'num_f"):
        make_films(folder, "x", out, frames=5)
    with pytest.raises(ValueError, match="Did you mean 'experts'"):
        make_films(folder, "x", out, loading={"offload": "expert"}, **SIZE)
    with pytest.raises(ValueError, match="safetensors"):
        make_films(folder, "x", out, **SIZE)
    assert not list(tmp_path.iterdir())


def test_a_pipeline_of_a_folder_says_so(folder):
    """A cache's name and settings, before the folder is looked at."""
    with pytest.raises(ValueError, match="Did you mean 'tea_cache'"):
        WanPipeline.from_folder(folder, cache_backend="tea_cach")
    with pytest.raises(ValueError, match="Did you mean 'rel_l1_thresh'"):
        WanPipeline.from_folder(
            folder, cache_backend="tea_cache", cache_config={"rel_l1_tresh": 1}
        )


def test_the_command_says_so(folder, tmp_path, capsys):
    """Nothing is asked of the file; and nothing is written."""
    asked = ["film", "x", "--params", str(folder), "--height", "32", "--width", "32"]
    out = ["--out", str(tmp_path / "a.gif"), "--cache", "tea_cach"]
    assert main([*asked, *out]) == 1
    assert "Did you mean 'tea_cache'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

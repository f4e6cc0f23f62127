"""Networks beside the one that is sampled: loaded by the same doors, not sampled."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache import Params, load_model, load_params, sample, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.wan_vae import WanVAEModel, import_state_dict

from ..checkpoints.original import write_original
from ..models.wan_vae.small import OF_21
from ..models.wan_vae.test_checkpoints import assert_weights, tensors_of, write


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """DreamZero's folder, with a VAE in it."""
    named = {f"action_head.vae.model.{n}": x for n, x in tensors_of(OF_21).items()}
    return write_original(tmp_path_factory.mktemp("parts") / "released", changes=named)


def test_a_part_of_a_released_folder(released, capsys):
    """The same folder, another network; the transformer's tensors are no fault."""
    params = load_params(released, part="vae")
    assert isinstance(params.model, WanVAEModel)
    assert_weights(params.weights, import_state_dict(OF_21, tensors_of(OF_21)))
    assert load_model(released, part="vae") == params.model
    assert load_model(released).name == "dreamzero"
    assert main(["info", str(released), "--part", "vae"]) == 0
    assert "wan_vae" in capsys.readouterr().out


@pytest.mark.slow
def test_a_part_in_a_folder_of_its_own(tmp_path, released):
    """As diffusers' pipelines have it, and as this library writes it."""
    write(tmp_path / "vae" / "model.safetensors", tensors_of(OF_21))
    params = load_params(tmp_path, part="vae")
    save_params(tmp_path / "ours" / "vae", params)
    command = ["convert", str(released), str(tmp_path / "theirs" / "vae")]
    assert main([*command, "--part", "vae"]) == 0
    for folder in ("ours", "theirs"):
        assert_weights(load_params(tmp_path / folder, part="vae"), params)


def test_parts_on_a_mesh(released):
    """Placed as they come, by the mesh alone or by rules."""
    mesh = jax.make_mesh((1,), ("x",))
    params = load_params(released, part="vae", mesh=mesh, rules="data")
    assert params.model.layout is not None
    params.model.layout.check_placed(params.weights, "weight")


def test_a_part_is_not_sampled(released):
    """Told before anything is traced."""
    params = load_params(released, part="vae")
    assert isinstance(params, Params)
    with pytest.raises(TypeError, match="those of wan_vae, which is not sampled"):
        sample(params)


def test_what_there_is_not(released, tmp_path):
    """Other names of parts, folders without one, of another, or with pickles alone."""
    with pytest.raises(ValueError, match="unknown part 'vea'"):
        load_params(released, part="vea")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load_params(tmp_path / "nothing", part="vae")
    with pytest.raises(ValueError, match="holds no vae in safetensors"):
        load_params(write_original(tmp_path / "without"), part="vae")
    save_params(tmp_path / "ours", load_params("dit"))
    with pytest.raises(ValueError, match="is no vae, but weights of dit"):
        load_params(tmp_path / "ours", part="vae")
    np.save(tmp_path / "without" / "x.npy", np.zeros(1))
    (tmp_path / "without" / "Wan2.1_VAE.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"Wan2\.1_VAE\.pth\. .*save_file to .*vae/"):
        load_params(tmp_path / "without", part="vae")

import io
import os
import pickle
import stat

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jax_stepcache.checkpoints import weights as weights_module
from jax_stepcache.checkpoints.weights import (
    differences,
    load_metadata,
    load_weights,
    require_fit,
    save_weights,
)

WEIGHTS = {
    "embed": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)},
    "scale": np.float32(2.5),
    "steps": np.arange(4, dtype=np.int32),
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, WEIGHTS, {"model": "small", "config": "{}"})
    return path


def test_roundtrip(saved):
    """Values, shapes, dtypes, nesting and the header come back as they went in."""
    read, metadata = load_weights(saved)
    assert metadata == {"model": "small", "config": "{}"}
    assert read.keys() == WEIGHTS.keys()
    np.testing.assert_array_equal(read["embed"]["kernel"], WEIGHTS["embed"]["kernel"])
    for name in ("scale", "steps"):
        assert read[name].dtype == WEIGHTS[name].dtype
        assert read[name].shape == WEIGHTS[name].shape
        np.testing.assert_array_equal(read[name], WEIGHTS[name])


def test_bfloat16_roundtrip(tmp_path):
    """Device arrays and half precision are written as they are."""
    path = tmp_path / "half.safetensors"
    save_weights(path, {"w": jnp.ones((2, 2), jnp.bfloat16)}, {})
    read, metadata = load_weights(path)
    assert metadata == {}
    assert read["w"].dtype == jnp.bfloat16
    assert (read["w"] == 1).all()


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -1])
def test_a_file_cut_short(saved, kept):
    """Whatever is missing at the end, the error says so and names the file."""
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"weights\.safetensors is cut short or is no"):
        load_weights(saved)


def test_a_foreign_file(tmp_path):
    """What is no safetensors file is refused."""
    path = tmp_path / "weights.npz"
    path.write_bytes(b"\x93NUMPY" + bytes(200))
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("first", ["a", "a.b"])
def test_a_name_inside_another(tmp_path, first):
    """A tensor named like the folder of another fits no nested dict."""
    path = tmp_path / "weights.safetensors"
    names = sorted(["a", "a.b"], key=lambda name: name != first)
    safetensors.numpy.save_file({name: np.ones(2) for name in names}, path)
    with pytest.raises(ValueError, match=r"'a' .*'a\.b'"):
        load_weights(path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_opened(tmp_path, protocol):
    """Unpickling runs code from the file: it is refused, of any protocol."""
    path, trace = tmp_path / "weights.pkl", tmp_path / "it-ran"
    path.write_bytes(pickle.dumps(Bomb(trace), protocol))
    with pytest.raises(ValueError, match=r"is a pickle|no safetensors file"):
        load_weights(path)
    assert not trace.exists()


def test_a_pytorch_archive_is_refused(tmp_path):
    """PyTorch's files are pickles in a zip."""
    path, archive = tmp_path / "model.pt", io.BytesIO()
    np.savez(archive, x=np.ones(2))
    path.write_bytes(archive.getvalue())
    with pytest.raises(ValueError, match="is a pickle or a PyTorch archive"):
        load_weights(path)


def test_no_file(tmp_path):
    """A path without a file is named."""
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        load_weights(tmp_path / "absent.safetensors")
    with pytest.raises(FileNotFoundError, match="no file at"):
        load_weights(tmp_path)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    """Weights appear whole or not at all, and nothing else is left behind."""
    before = saved.read_bytes()

    def fail(source, target):
        assert os.path.exists(source)
        raise OSError("disk full")

    monkeypatch.setattr(weights_module.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(saved, {"w": np.zeros(3)}, {})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_save_replaces_the_old_file_in_one_move(saved, monkeypatch):
    """The new file is complete before it takes the old one's name."""
    seen = []

    def replace(source, target):
        seen.append((load_weights(source)[0].keys(), load_weights(target)[0].keys()))
        os.rename(source, target)

    monkeypatch.setattr(weights_module.os, "replace", replace)
    save_weights(saved, {"w": np.zeros(3)}, {})
    assert seen == [({"w"}, WEIGHTS.keys())]
    assert os.listdir(saved.parent) == [saved.name]
    assert stat.S_ISREG(saved.stat().st_mode)


def test_metadata_alone(saved):
    """The header can be read without the weights, with the same errors."""
    assert load_metadata(saved) == {"model": "small", "config": "{}"}
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut short"):
        load_metadata(saved)


def test_all_differences_are_listed_at_once():
    """Missing, extra and misshapen tensors, in one error."""
    given = {"extra": (1,), "shape.w": (2, 3), "good": (4,)}
    wanted = {"missing": (1,), "shape.w": (3, 2), "good": (4,)}
    faults = differences(given, wanted)
    assert faults == [
        "missing: missing",
        "extra: extra",
        "shape: shape.w is (2, 3), the model has (3, 2)",
    ]
    with pytest.raises(ValueError, match="the file does not fit the model") as error:
        require_fit("the file", faults)
    assert all(fault in str(error.value) for fault in faults)
    assert differences(wanted, wanted) == []
    require_fit("the file", [])

"""Files that are half written, cut short, changed, or not where they say they are."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from jax_stepcache import Params, load_model, load_params, save_params
from jax_stepcache.checkpoints.folder import FolderWriter
from jax_stepcache.checkpoints.shards import INDEX
from jax_stepcache.checkpoints.weights import save_weights
from jax_stepcache.models.dit import DiTModel
from jax_stepcache.models.dit.model import config_of
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.robot.statistics import load_statistics
from jax_stepcache.models.dreamzero.training import load_chunks, save_chunks
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.tabletop import TabletopModel, tabletop_config, weights_struct
from jax_stepcache.network.protocol import TunedSchedule
from jax_stepcache.network.tuned import TunedFile

from ..checkpoints.original import write_original
from ..models.dit.small import SMALL, random_weights
from . import killed

MODEL = DiTModel(SMALL)
WEIGHTS = random_weights(SMALL)
TABLETOP = TabletopModel(tabletop_config(dim=32, num_layers=1))
METADATA = {"model": "dit", "config": json.dumps(config_of(MODEL))}


def _equal(params):
    assert params.model == MODEL
    jax.tree.map(np.testing.assert_array_equal, params.weights, WEIGHTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One of each kind of file, and how each is read."""
    folder = tmp_path_factory.mktemp("files")
    save_params(folder / "params", Params(WEIGHTS, MODEL))
    save_weights(folder / "weights.safetensors", WEIGHTS, METADATA)
    (folder / "tuned.json").write_text(
        json.dumps(
            {
                "num_steps": 8,
                "schedules": {
                    "3": {"steps": [0, 3, 6], "forecast": {"name": "linear"}}
                },
                "settings": {"mag_cache": {"mag_ratios": [1.0] * 8}},
            }
        )
    )
    pipeline = _pipeline()
    words = jnp.zeros((1, TABLETOP.dit.text_len, TABLETOP.dit.text_dim))
    pipeline.save_session(folder / "session", pipeline.start(words))
    save_chunks(folder / "chunks", _chunks())
    write_original(folder / "released")
    killed.train(folder, folder / "run")
    bounds = {"q01": [0.0], "q99": [1.0]}
    groups = {
        group: dict.fromkeys(("joint_position", "gripper_position"), bounds)
        for group in ("state", "action")
    }
    statistics = {"oxe_droid": {"statistics": groups}}
    (folder / "metadata.json").write_text(json.dumps(statistics))
    return folder


def _pipeline():
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), weights_struct(TABLETOP))
    return DreamZeroPipeline(Params(zeros, TABLETOP), guidance_scale=1.0)


def _chunks():
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32),
        chunks_struct(TABLETOP, 4, 1),
    )


# --- damage -----------------------------------------------------------------------


@st.composite
def damages(draw):
    """Which of some files, and a cut or a flipped bit somewhere in it."""
    which = draw(st.integers(0, 10_000))
    place = draw(st.floats(0, 1, exclude_max=True))
    return which, place, draw(st.sampled_from(["cut", *range(8)]))


@contextlib.contextmanager
def _damaged(path, damage, most=None):
    """Damages one file of a folder, or a file; afterwards it is as it was."""
    which, place, how = damage
    files = sorted(file for file in path.rglob("*") if file.is_file()) or [path]
    files = [file for file in files if file.stat().st_size]
    file = files[which % len(files)]
    before = file.read_bytes()
    at = int(place * min(len(before), most or len(before)))
    after = bytearray(before[:at] if how == "cut" else before)
    if how != "cut":
        after[at] ^= 1 << how
    file.write_bytes(after)
    try:
        yield file
    finally:
        file.write_bytes(before)


@given(damages())
def test_a_folder_of_ours_is_never_loaded_otherwise(folder, damage):
    """Any file of it, at any place: its checksums tell, before Orbax reads it."""
    with (
        _damaged(folder / "params", damage),
        pytest.raises(ValueError, match=r"damaged|changed|JSON|needs"),
    ):
        load_params(folder / "params")


@given(damages(), st.sampled_from([None, 2000]))
def test_a_file_of_ours_is_never_loaded_otherwise(folder, damage, most):
    """Header, metadata and numbers."""
    path = folder / "weights.safetensors"
    with _damaged(path, damage, most), pytest.raises(ValueError, match=str(path)):
        load_params(path)
    _equal(load_params(path))


@given(damages(), st.sampled_from([None, 1000]))
def test_a_session_is_never_resumed_otherwise(folder, damage, most):
    """Another number in its cache would steer a robot."""
    path = folder / "session"
    with _damaged(path, damage, most), pytest.raises(ValueError, match="session"):
        _pipeline().load_session(path)


@given(damages())
def test_a_checkpoint_of_a_run_is_never_resumed_otherwise(folder, damage):
    """The error says which one, and how to go on."""
    newest = folder / "run" / "5"
    with (
        _damaged(newest, damage),
        pytest.raises(
            ValueError, match=r"(?s)run/5 cannot be used: .* go on from step 4"
        ),
    ):
        killed.train(folder, folder / "run")


@given(damages(), st.sampled_from(["settings.json", "checksums.json"]))
def test_what_a_run_knows_of_itself(folder, damage, name):
    """Its settings and its checksums: an error, or the same numbers."""
    with _damaged(folder / "run" / name, damage), contextlib.suppress(ValueError):
        state = killed.train(folder, folder / "run")
        assert int(state.step) == 5


@given(damages())
def test_a_tuned_schedule_is_one_or_an_error(folder, damage):
    """There is no checksum: another digit is another schedule, if it can be one."""
    with _damaged(folder / "tuned.json", damage), contextlib.suppress(ValueError):
        found = TunedFile(folder / "tuned.json").schedule(3)
        assert isinstance(found, TunedSchedule)
        assert len(found.steps) == 3
        assert found.steps[0] == 0
        assert list(found.steps) == sorted(set(found.steps))
        assert found.steps[-1] < found.num_steps


@given(damages())
def test_an_index_is_one_or_an_error(folder, damage):
    """Of somebody's checkpoint; what it names is there, or is told."""
    with (
        _damaged(folder / "released" / INDEX, damage),
        contextlib.suppress(ValueError, FileNotFoundError),
    ):
        load_model(folder / "released")
        load_params(folder / "released")


@given(damages(), st.sampled_from(["video", "action", "state", "text"]))
def test_training_sequences_are_whole_or_an_error(folder, damage, field):
    """Headers and lengths. Other numbers that are finite, and in range where there is
    one, cannot be told: NumPy's format has no checksum."""
    path = folder / "chunks" / f"{field}.npy"
    with _damaged(path, damage, 128), contextlib.suppress(ValueError):
        chunks = load_chunks(folder / "chunks", TABLETOP)
        jax.tree.map(
            lambda a, b: np.testing.assert_equal(a.shape, b.shape), chunks, _chunks()
        )


@given(damages())
def test_statistics_are_some_or_an_error(folder, damage):
    """A robot's quantiles; likewise without a checksum."""
    path = folder / "metadata.json"
    with _damaged(path, damage), contextlib.suppress(ValueError):
        found = load_statistics(path, "droid")
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_what_an_older_version_wrote_still_loads(folder, tmp_path):
    """It has no checksums."""
    shutil.copytree(folder / "params", tmp_path / "params")
    path = tmp_path / "params" / "model.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({name: said[name] for name in ("model", "config")}))
    _equal(load_params(tmp_path / "params"))
    flat = {
        ".".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(WEIGHTS)
    }
    save_file(flat, tmp_path / "old.safetensors", METADATA)
    _equal(load_params(tmp_path / "old.safetensors"))


# --- places -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../other.safetensors",
        "sub/other.safetensors",
        "..",
        ".",
        "",
        "/etc/passwd",
        "..\\other.safetensors",
        "C:\\other.safetensors",
        "other\0.safetensors",
    ],
)
def test_an_index_that_leads_out_of_its_folder_is_refused(name, tmp_path):
    """By the name that it has there; nothing of it is opened."""
    write_original(tmp_path / "released")
    index = tmp_path / "released" / INDEX
    said = json.loads(index.read_text())
    said["weight_map"][next(iter(said["weight_map"]))] = name
    index.write_text(json.dumps(said))
    with pytest.raises(ValueError, match="must name files of its own folder") as error:
        load_params(tmp_path / "released")
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("value", [3, None, ["x"], {}])
def test_an_index_of_anything_else_is_none(value, tmp_path):
    """Not a TypeError from inside."""
    write_original(tmp_path / "released")
    index = tmp_path / "released" / INDEX
    said = json.loads(index.read_text())
    said["weight_map"][next(iter(said["weight_map"]))] = value
    index.write_text(json.dumps(said))
    with pytest.raises(ValueError, match="is no index of safetensors files"):
        load_params(tmp_path / "released")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    """But for those of Hugging Face's cache, which keeps all files behind links."""
    released = write_original(tmp_path / "made")
    shard = sorted(released.glob("*.safetensors"))[0].name
    elsewhere = shutil.move(released / shard, tmp_path / shard)
    (released / shard).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="must name files of its own folder") as error:
        load_params(released)
    assert repr(shard) in str(error.value)
    (released / shard).unlink()
    shutil.move(elsewhere, released / f"really-{shard}")
    (released / shard).symlink_to(f"really-{shard}")
    wanted = load_params(released)

    cache = tmp_path / "models--somebody--something"
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(released.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    found = load_params(snapshot)
    jax.tree.map(np.testing.assert_array_equal, found.weights, wanted.weights)


def test_other_folders_beside_the_parts_are_passed_over(folder, tmp_path):
    """Those of an editor, of logs, of a save that was killed, and copies of parts; a
    part of another model is not."""
    target = tmp_path / "params"
    shutil.copytree(folder / "params", target)
    part = next(one for one in target.iterdir() if one.is_dir())
    (target / "logs" / "run").mkdir(parents=True)
    (target / ".ipynb_checkpoints").mkdir()
    (target / "notes.txt").write_text("mine")
    shutil.copytree(part, target / f"{part.name}.orbax-checkpoint-tmp-7")
    other = jax.tree.map(np.zeros_like, WEIGHTS)
    save_params(tmp_path / "other", Params(other, MODEL))
    shutil.copytree(tmp_path / "other" / part.name, target / f"{part.name}-old")
    shutil.copytree(tmp_path / "other" / part.name, target / "zzz")
    _equal(load_params(target))
    FolderWriter(tmp_path / "more").write("another", {"another.w": jnp.ones(2)})
    shutil.copytree(tmp_path / "more.partial" / "another", target / "another")
    with pytest.raises(ValueError, match=r"extra: another\.w"):
        load_params(target)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("DiT", "dit"),
        ("DIT", "dit"),
        ("Tabletop", "tabletop"),
        ("table-top", "tabletop"),
        ("SiT-XL/2", "sit-xl/2"),
        ("DROID-14B", "droid-14b"),
    ],
)
@pytest.mark.parametrize("load", [load_params, load_model])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_name_that_is_nearly_right(given, meant, load, kind, tmp_path, monkeypatch):
    """Is told with the right one, and all that there are."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"Did you mean '{meant}'") as error:
        load(kind(given))
    assert "Supported: [" in str(error.value)


@pytest.mark.parametrize("given", [None, 3, b"dit", {"w": 1}])
def test_what_is_no_name(given):
    """A TypeError that names the argument."""
    with pytest.raises(TypeError, match="source is"):
        load_params(given)


# --- kill -9 ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "moments"), [("save_params", 8), ("convert", 6), ("train", 6)]
)
def test_nothing_half_written_is_ever_loaded(what, moments, folder, tmp_path):
    """Killed at random moments: what has its name is whole, and the same work goes on
    to the same numbers."""
    source = folder / "weights.safetensors"
    command = ["-W", "ignore", "-m", "tests.in_the_wild.killed", what, source, tmp_path]
    ended = subprocess.run(
        [sys.executable, *map(str, command), str(moments), "0"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["hit"] > moments // 2
    assert told["failed"] == [], ended.stderr
    done = [tmp_path / str(moment) for moment in range(moments)]
    if what == "train":
        # At the end there is nothing left to train: these are read.
        wanted = killed.train(source, tmp_path / "whole")
        for target in done:
            state = killed.train(source, target)
            jax.tree.map(np.testing.assert_array_equal, state, wanted)
        return
    for target in done:
        left = target.with_name(f"{target.name}.left")
        _equal(load_params(left if left.exists() else target))
    assert not list(tmp_path.glob("*.partial"))

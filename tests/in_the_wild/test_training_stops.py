"""Data that nothing can learn from, and runs whose numbers are not finite any more."""

import importlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Params, load_params, save_params
from jax_stepcache.cli.main import main
from jax_stepcache.models.dit import DiTModel
from jax_stepcache.models.dit.network.published import DIGITS
from jax_stepcache.models.dit.train import Settings as DiTSettings
from jax_stepcache.models.dit.train import train as train_digits
from jax_stepcache.models.dit.training.digits import Digits
from jax_stepcache.models.dit.training.loss import FlowMatching
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    finetune,
    load_chunks,
    save_chunks,
)
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.tabletop import TabletopModel, tabletop_config, weights_struct
from jax_stepcache.models.tabletop.train import Settings as TabletopSettings
from jax_stepcache.models.tabletop.train import train as train_tabletop
from jax_stepcache.models.training import fit
from jax_stepcache.models.training.command import run_command
from jax_stepcache.models.training.data import look_through
from jax_stepcache.models.training.settings import keep_settings, require_same
from jax_stepcache.models.training.step import init_state
from jax_stepcache.models.training.stopped import TrainingStopped

MODEL = TabletopModel(tabletop_config(dim=32, num_layers=1))
FIELDS = ("video", "action", "state", "text")


def _chunks(count=4):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32),
        chunks_struct(MODEL, count, 1),
    )


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32),
        weights_struct(MODEL),
    )
    return Params(weights, MODEL)


def _nothing_compiles(monkeypatch):
    """Whatever would train is an error of its own."""

    def trains(*args, **options):
        raise AssertionError("the run began")

    monkeypatch.setattr("jax_stepcache.models.training.loop.train_step", trains)
    monkeypatch.setattr("jax_stepcache.models.training.loop.init_state", trains)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "f4"), (np.inf, "f4"), (-np.inf, "f2"), (1e300, "f8")],
)
def test_data_that_are_not_finite_are_named(
    field, value, dtype, params, tmp_path, monkeypatch
):
    """File and row, before anything is compiled or written; also what only float32,
    in which networks are trained, cannot hold."""
    chunks = _chunks()
    spoilt = getattr(chunks, field).astype(dtype)
    spoilt[2].flat[1] = value
    save_chunks(tmp_path / "data", chunks._replace(**{field: spoilt}))
    _nothing_compiles(monkeypatch)
    with pytest.raises(ValueError, match=rf"not finite: {field}\.npy has .* in row 2"):
        finetune(params, tmp_path / "data", tmp_path / "out", FinetuneSettings(batch=4))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: x.astype(np.int32), "dtype: {}.npy is int32"),
        (lambda x: x.astype(np.complex64), "dtype: {}.npy is complex64"),
        (lambda x: x.astype(bool), "dtype: {}.npy is bool"),
        (lambda x: x.astype("S4"), r"dtype: {}.npy is \|S4"),
        (lambda x: x[..., :-1], "shape: {}.npy is"),
        (lambda x: x[:3], "shape: .* the model takes"),
        (lambda x: x[:0], "empty: {}.npy is"),
        (lambda x: x[0, 0], "shape: "),
        (lambda x: np.float32(0), "shape: "),
    ],
)
@pytest.mark.parametrize("field", FIELDS)
def test_data_of_another_kind_are_named(field, spoil, said, tmp_path):
    """Every field, by its file: dtypes, shapes, empty files."""
    chunks = _chunks()
    save_chunks(tmp_path, chunks._replace(**{field: spoil(getattr(chunks, field))}))
    with pytest.raises(ValueError, match=said.format(field)):
        load_chunks(tmp_path, MODEL)


def test_a_file_without_a_byte_is_named(tmp_path):
    """As a full disk leaves it."""
    save_chunks(tmp_path, _chunks())
    (tmp_path / "state.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cut short or no array: state\.npy"):
        load_chunks(tmp_path, MODEL)


@given(
    rows=st.sets(st.integers(0, 30), min_size=1, max_size=12),
    width=st.integers(1, 5),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_all_rows_with_a_fault_are_found(rows, width, value):
    """Whatever part of the data is looked at together; the first in full."""
    array = np.zeros((31, width, 2), np.float32)
    for row in rows:
        array[row, width - 1, 1] = value
    (fault,) = look_through("x.npy", array).faults
    first, *others = sorted(rows)
    assert f"in row {first}, at [{width - 1}, 1]" in fault
    for row in others[:8]:
        assert str(row) in fault.split("and in row")[1]
    marks = {look_through("x", array).checksum, look_through("x", array + 1).checksum}
    assert len(marks) == 2
    assert look_through("x.npy", np.zeros((31, width))).faults == []


# --- stopping ---------------------------------------------------------------------


class Settings(NamedTuple):
    steps: int = 8
    seed: int = 0
    decay: float = 0.9
    accumulate: int = 1


def _square(weights, frozen, batch, key):
    error = jnp.mean((weights["w"] * batch - batch) ** 2)
    return error, {"error": error}


def _gradient_only(weights, frozen, batch, key):
    """A finite loss whose gradient is not: the root at zero."""
    root = jnp.sqrt(jnp.abs(weights["w"] * batch)).sum()
    return root * 0 + jnp.sum(weights["w"] ** 2), {"error": jnp.float32(1.0)}


def _rows_at(step):
    return np.arange(4) + 4 * step


def _run(folder, data, settings=None, loss=_square, rate=0.1, begin=2.0, **options):
    return fit(
        folder,
        {"w": jnp.full(3, begin)},
        loss=loss,
        optimizer=OPTIMIZERS[rate],
        batch_at=lambda step: jnp.asarray(data[_rows_at(step)]),
        settings=settings or Settings(),
        rows_of=lambda step, key: _rows_at(step),
        source="data.npy",
        **options,
    )


OPTIMIZERS = {rate: optax.sgd(rate) for rate in (0.1, 1e38)}


@pytest.mark.parametrize(
    ("accumulate", "save_every", "log_every"),
    [(1, 1, 1), (2, 100, 100), (4, 3, 100), (1, 5, 2), (2, 6, 1)],
)
def test_a_run_stops_at_the_first_number_that_is_not_finite(
    accumulate, save_every, log_every, tmp_path
):
    """However often it is looked at: the step, the rows of the part that was not
    finite, and a checkpoint of the weights before it, from which a run goes on."""
    data = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    good = _run(tmp_path / "good", data, stop_after=5)
    data[5 * 4 + 2, 1] = np.inf  # of step 6
    settings = Settings(accumulate=accumulate)
    options = {"save_every": save_every, "log_every": log_every}
    with pytest.raises(TrainingStopped, match="step 6: the loss is not finite") as got:
        _run(tmp_path / "bad", data, settings, **options)
    assert isinstance(got.value, FloatingPointError)
    assert got.value.step == int(got.value.state.step) == 5
    wanted = {1: [20, 21, 22, 23], 2: [22, 23], 4: [22]}[accumulate]
    assert got.value.rows.tolist() == wanted
    assert f"{wanted[0]}" in str(got.value)
    assert "of data.npy" in str(got.value)
    np.testing.assert_allclose(got.value.state.trained["w"], good.trained["w"], 1e-6)
    # Mended, the run goes on from there.
    data[5 * 4 + 2, 1] = 0.0
    again = _run(tmp_path / "bad", data, settings, resume=True, **options)
    whole = _run(tmp_path / "whole", data, settings)
    np.testing.assert_array_equal(again.trained["w"], whole.trained["w"])


def test_a_gradient_alone_stops_a_run_too(tmp_path):
    """The loss is fine where its derivative is not."""
    data = np.ones((32, 3), np.float32)
    data[8:12] = 0.0
    with pytest.raises(TrainingStopped, match="step 3: the gradient is not finite"):
        _run(tmp_path, data, loss=_gradient_only)


def test_weights_that_overflow_stop_a_run_too(tmp_path):
    """A rate that throws them out of float32 is caught at the step that does it."""
    data = np.full((32, 3), 10.0, np.float32)
    with pytest.raises(TrainingStopped, match=r"step 1: .* no step was taken") as got:
        _run(tmp_path, data, rate=1e38)
    assert np.isfinite(got.value.state.trained["w"]).all()


def test_weights_to_begin_from_are_finite(tmp_path):
    """They are told apart from a run that diverged."""
    data = np.ones((32, 3), np.float32)
    with pytest.raises(ValueError, match="the weights to begin from are not finite"):
        _run(tmp_path, data, begin=jnp.nan)


# --- the commands -----------------------------------------------------------------


@pytest.mark.slow
def test_a_diverging_finetuning_exits_with_1(params, tmp_path, capsys):
    """No result that looks finished; the last good weights load; resumed with other
    settings it is refused by name, and with the same it stops again."""
    save_params(tmp_path / "begin", params)
    save_chunks(tmp_path / "data", _chunks())
    arguments = ["finetune", "--params", str(tmp_path / "begin")]
    arguments += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    arguments += ["--steps", "20", "--batch", "4", "--lora", "2"]
    diverging = [*arguments, "--learning-rate", "1e18", "--warmup", "0.4"]
    assert main(diverging) == 1
    said = capsys.readouterr()
    assert "not finite" in said.err
    assert "data" in said.err
    assert not (tmp_path / "out" / "params").exists()
    (kept,) = (tmp_path / "out").glob("params-step-*")
    load_params(kept)
    assert main([*diverging, "--resume"]) == 1
    assert "not finite" in capsys.readouterr().err
    assert main([*arguments, "--learning-rate", "1e-4", "--resume"]) == 1
    assert "learning_rate was 1e+18 and is 0.0001" in capsys.readouterr().err


def _digits(count=20):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)
    return Digits(images, (np.arange(count) % 10).astype(np.int32))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: _at(d.images, 3, np.nan), "not finite: images has nan in row 3"),
        (lambda d: d.images.astype(np.uint8), "dtype: images is uint8"),
        (lambda d: d.images[:, :7], "shape: images is"),
        (lambda d: _at(d.labels, 4, 10), "range: labels has 10 in row 4"),
        (lambda d: _at(d.labels, 4, -1), "range: labels has -1 in row 4"),
        (lambda d: d.labels.astype(np.float32), "dtype: labels is float32"),
        (lambda d: d.labels[:0], "empty: labels"),
    ],
)
def test_digits_are_looked_through(spoil, said, tmp_path, monkeypatch):
    """Pictures and labels of one's own; a label too large would be the last one's."""
    digits = _digits()
    spoilt = spoil(digits)
    name = "labels" if said.split()[1] == "labels" or "labels" in said else "images"
    _nothing_compiles(monkeypatch)
    with pytest.raises(ValueError, match=said):
        train_digits(
            DiTSettings(steps=2, batch=4, warmup=1),
            DiTModel(DIGITS),
            digits._replace(**{name: spoilt}),
            tmp_path,
        )


def _at(array, row, value):
    array = array.copy()
    array[row] = value
    return array


def test_the_rows_that_a_step_draws_are_told():
    """Those of the loss itself, from the step's key."""
    loss = FlowMatching(DiTModel(DIGITS), 6)
    first, second = (loss.drawn(jax.random.key(k), 20) for k in (0, 1))
    assert first.shape == (6,)
    assert first.tolist() != second.tolist()
    assert max(*first.tolist(), *second.tolist()) < 20


@pytest.mark.parametrize("train", ["dit", "tabletop"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"accumulate": 3}, "accumulate is 3; it must divide the batch of 4"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ({"decay": 1.0}, r"decay is 1\.0"),
        ({"seed": -1}, "seed is -1"),
        ({"warmup": 2}, "warmup is 2; it must be .* fewer than the 2 steps"),
    ],
)
def test_settings_that_cannot_be_are_refused_everywhere(
    train, changes, said, tmp_path, monkeypatch
):
    """By every command that trains, before anything is compiled."""
    _nothing_compiles(monkeypatch)
    begin = {
        "dit": lambda: train_digits(
            DiTSettings(steps=2, batch=4, warmup=1)._replace(**changes),
            DiTModel(DIGITS),
            _digits(),
            tmp_path,
        ),
        "tabletop": lambda: train_tabletop(
            TabletopSettings(steps=2, batch=4, warmup=1)._replace(**changes),
            MODEL,
            tmp_path,
        ),
    }
    with pytest.raises(ValueError, match=said):
        begin[train]()


def test_a_training_command_exits_with_1(capsys):
    """One line for what was wrong, no traceback; else 0."""

    def stops():
        raise FloatingPointError("step 3: the loss is not finite")

    assert run_command(stops) == 1
    assert "step 3" in capsys.readouterr().err
    assert run_command(lambda: None) == 0


# --- resuming ---------------------------------------------------------------------


def test_a_resumed_run_has_the_data_it_had(params, tmp_path, monkeypatch):
    """As many sequences, and others in one number: another run."""
    _keeps_settings_only(monkeypatch)
    settings = FinetuneSettings(steps=4, batch=4)
    save_chunks(tmp_path / "data", _chunks())
    finetune(params, tmp_path / "data", tmp_path / "out", settings)
    chunks = _chunks()
    chunks.state[1, 0, 0] += 0.25
    save_chunks(tmp_path / "data", chunks)
    with pytest.raises(ValueError, match=r"data was \{.*\} and is"):
        finetune(params, tmp_path / "data", tmp_path / "out", settings, resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 2},
        {"accumulate": 2},
        {"lora": 0},
        {"learning_rate": 0.5},
        {"steps": 8},
        {"seed": 1},
        {"dropout": 0.5},
        {"shift": 3.0},
    ],
    ids=str,
)
def test_a_setting_that_changes_the_run_is_refused(
    changes, params, tmp_path, monkeypatch
):
    """By name, with the old value and the new one. The number of steps is among them:
    the rate falls over all of them."""
    _keeps_settings_only(monkeypatch)
    settings = FinetuneSettings(steps=4, batch=4)
    save_chunks(tmp_path / "data", _chunks())
    finetune(params, tmp_path / "data", tmp_path / "out", settings)
    ((name, value),) = changes.items()
    was = f"{name} was {getattr(settings, name)!r} and is {value!r}"
    with pytest.raises(ValueError, match=was):
        finetune(
            params,
            tmp_path / "data",
            tmp_path / "out",
            settings._replace(**changes),
            resume=True,
        )


def test_what_changes_no_number_may_differ(tmp_path):
    """How often a run tells and saves, and where it stops."""
    data = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    whole = _run(tmp_path / "whole", data)
    _run(tmp_path / "run", data, stop_after=3, save_every=2, log_every=1)
    _run(tmp_path / "run", data, stop_after=5, save_every=1, resume=True)
    resumed = _run(tmp_path / "run", data, log_every=3, resume=True)
    np.testing.assert_array_equal(resumed.trained["w"], whole.trained["w"])


@pytest.mark.slow
def test_the_weights_that_a_tabletop_run_began_from(tmp_path, monkeypatch):
    """`--init` of another file, or none, is another run."""
    _keeps_settings_only(monkeypatch)
    rng = np.random.default_rng(0)
    init = jax.tree.map(lambda x: rng.normal(size=x.shape), weights_struct(MODEL))
    settings = TabletopSettings(steps=2, batch=4, warmup=1)
    train_tabletop(settings, MODEL, tmp_path, init=init)
    with pytest.raises(ValueError, match=r"init was .* and is None"):
        train_tabletop(settings, MODEL, tmp_path, resume=True)


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_settings_that_were_damaged_are_an_error(text, tmp_path):
    """Nobody can tell then whether the run is the same."""
    data = np.ones((32, 3), np.float32)
    _run(tmp_path, data, stop_after=2)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json"):
        _run(tmp_path, data, resume=True)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"settings\.json is not there"):
        _run(tmp_path, data, resume=True)


def _keeps_settings_only(monkeypatch):
    """The loop without its steps: a checkpoint of nothing lies there afterwards."""

    def begins(folder, trained, *, settings, origin, resume=False, **options):
        kept = settings._asdict() | dict(origin)
        folder.mkdir(parents=True, exist_ok=True)
        (require_same if resume else keep_settings)(folder / "settings.json", kept)
        return init_state(trained, optax.sgd(0.1))

    for place in ("dreamzero.training.finetune", "tabletop.train"):
        module = importlib.import_module(f"jax_stepcache.models.{place}")
        monkeypatch.setattr(module, "fit", begins)

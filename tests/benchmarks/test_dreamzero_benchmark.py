"""DreamZero's benchmark measures what it says it does; how fast is not asked here."""

import importlib
import json
import math
from pathlib import Path

import jax
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
STEPS = "control step, {}, {} calls"


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module; its neighbours are found as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("dreamzero")


@pytest.mark.slow
def test_rows_of_the_small_model(benchmark, tmp_path, capsys):
    """The control steps make 16, 4 and 6 calls, and every number is a positive one."""
    file = tmp_path / "dreamzero.json"
    benchmark.main(["--layers", "1", "--repeats", "1", "--json", str(file)])
    result = json.loads(file.read_text())
    run, rows = result["run"], result["rows"]
    assert (run["config"], run["layers"], run["robots"]) == ("small", 1, 1)
    assert (run["dtype"], run["attention"]) == ("float32", "xla")
    assert {name: row["model_calls"] for name, row in rows.items()} == {
        "network call": 1,
        "prefill": 0,
        STEPS.format("uncached", 16): 16,
        STEPS.format("step_cache", 4): 4,
        STEPS.format("step_cache", 6): 6,
    }
    numbers = [run["parameters"], run["matrix_tflop_per_second"]]
    numbers.append(run["peak_memory_bytes"])
    for name, row in rows.items():
        stepped = name.startswith("control step")
        assert (row["speedup"] is not None) == stepped
        numbers += [
            value
            for key, value in row.items()
            if key != "model_calls" and value is not None
        ]
    assert all(math.isfinite(x) and x > 0 for x in numbers)
    one, prefill = rows["network call"]["tflop"], rows["prefill"]["tflop"]
    for row in list(rows.values())[2:]:
        assert row["tflop"] == pytest.approx(row["model_calls"] * one + prefill)
    assert json.loads((tmp_path / "dreamzero.about.json").read_text())["device"]
    assert "step_cache, 4 calls" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "droid"], "invalid choice: 'droid'"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--attention", "cudnn", "--dtype", "f32"], "'cudnn' needs"),
        (["--layers", "0"], "num_layers must be an integer >= 1, got 0"),
        (["--batch", "0"], "--batch must be at least 1, got 0"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_said(benchmark, arguments, words, capsys):
    """A mistake ends the script before anything is drawn, in words."""
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def test_other_numbers_of_calls_are_an_error(benchmark):
    """A row never says a number of calls that was not made."""
    computed = jax.numpy.arange(16) < 5
    stats = benchmark.Stats(computed, computed, computed.sum(), False)
    with pytest.raises(ValueError, match="of 4 model calls made 5"):
        benchmark.check(stats, 4)


@pytest.mark.parametrize("name", ["droid-14b", "wan22-5b", "tabletop"])
def test_named_models_keep_their_sizes(benchmark, name):
    """Dtype, kernel and layers are the only things that the options change."""
    model = benchmark.configured(name, dtype="bfloat16", layers=3)
    published = benchmark.load_model(name)
    assert model.dit.dtype == "bfloat16"
    assert model.dit.num_layers == 3
    assert model.dit.dim == published.dit.dim
    assert model.latent_size == published.latent_size

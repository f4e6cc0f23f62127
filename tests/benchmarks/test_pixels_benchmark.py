"""The benchmark of pictures and words measures every stage; how fast is not asked."""

import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
ON_THE_HOST = {
    "message checked, frames kept",
    "uint8 frames sent",
    "tokens of 2 prompts",
    "control step, message to reply",
}


@pytest.mark.slow
def test_every_stage_has_a_time_and_every_program_its_memory(monkeypatch, tmp_path):
    """Of a tiny model whole, at 4 calls; the committed figures have the same rows."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("ftfy")
    monkeypatch.syspath_prepend(str(FOLDER))
    benchmark = importlib.import_module("pixels")
    file = tmp_path / "pixels.json"
    benchmark.main(["--repeats", "1", "--json", str(file)])
    found = json.loads(file.read_text())
    committed = json.loads((FOLDER / "results" / "pixels.json").read_text())
    assert found["run"] == committed["run"]
    assert list(found["rows"]) == list(committed["rows"])
    for name, row in found["rows"].items():
        assert row["seconds"] > 0
        assert row["when"] in benchmark.WHEN
        assert (row["held_bytes"] is None) == (name in ON_THE_HOST)
        if row["held_bytes"] is not None:
            assert row["held_bytes"] > row["temporary_bytes"] >= 0

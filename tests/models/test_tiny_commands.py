"""The commands that write tiny models."""

import sys

import pytest

from jax_stepcache.models.dreamzero.pixels import tiny as dreamzero
from jax_stepcache.models.flux import tiny as flux
from jax_stepcache.models.pi0 import tiny as pi0
from jax_stepcache.models.wan import tiny as wan


@pytest.mark.parametrize("model", [dreamzero, flux, pi0, wan], ids=lambda m: m.__name__)
def test_a_folder_that_is_there_is_one_line(model, monkeypatch, capsys, tmp_path):
    """No traceback, and nothing is written into it."""
    monkeypatch.setattr(sys, "argv", ["tiny", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        model.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1] == f"tiny: error: {tmp_path} is there already; give another name"
    assert "Traceback" not in "".join(said)
    assert not list(tmp_path.iterdir())

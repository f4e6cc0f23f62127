"""What a run over recorded numbers takes for granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cases import params_of


def test_recordings_without_their_parameters_fail(tmp_path: Path) -> None:
    """A folder whose parameters are misnamed has compared nothing: never green."""
    (tmp_path / "t2v_param.npz").touch()
    with pytest.raises(pytest.fail.Exception, match="there is no .*t2v_params.npz"):
        params_of(tmp_path, "t2v")
    (tmp_path / "t2v_params.npz").touch()
    assert params_of(tmp_path, "t2v").name == "t2v_params.npz"

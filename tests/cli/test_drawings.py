"""The picture of a comparison."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from jax_stepcache.cli.drawings import save_comparison


@pytest.mark.parametrize("seen", [{"image": np.zeros((1, 4, 4, 3))}, {"text": 0}])
def test_what_was_seen_stands_first_if_anything_was(seen, tmp_path, monkeypatch):
    """A model of words is shown no picture; its frames are drawn all the same."""
    from matplotlib.axes import Axes

    titles = []
    monkeypatch.setattr(Axes, "set_title", lambda _, said, **__: titles.append(said))
    model = SimpleNamespace(decode=lambda sample: {"video": sample})
    result = SimpleNamespace(
        sample=np.zeros((1, 2, 4, 4, 3)), stats=SimpleNamespace(model_calls=4)
    )
    row = SimpleNamespace(name="uncached", result=result, speedup=1.0, psnr=np.inf)
    path = tmp_path / "sample.png"
    save_comparison(path, [row], model, seen)
    assert path.read_bytes().startswith(b"\x89PNG")
    first = ["observed"] if "image" in seen else []
    assert titles == [*first, "predicted 1", "predicted 2"]

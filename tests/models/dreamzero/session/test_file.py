"""Sessions on disk are the same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ..robots import (
    assert_same_bits,
    copied,
    observation,
    pipeline,
    prompts,
    walk,
)

_RESUMED = """
import sys
import jax
from pathlib import Path
import numpy as np
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)  # as in this module
from tests.models.dreamzero.robots import observation, pipeline
pipe = pipeline()
step = pipe(pipe.load_session(sys.argv[1]), observation(1, 9))
pipe.save_session(sys.argv[2], step.session)
np.save(sys.argv[3], step.video)
"""


def test_a_saved_session_is_the_same_bits(tmp_path: Path) -> None:
    """Before the first step and after each one, across the window's reset."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    for seed in range(4):
        pipe.save_session(tmp_path / "session", session)
        loaded = pipe.load_session(tmp_path / "session")
        assert_same_bits(copied(loaded), copied(session))
        session = walk(pipe, session, [seed])


@pytest.mark.slow
def test_a_saved_session_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Restored in a new process, it ends where the one that went on does."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0, 1])
    saved, after, video = (tmp_path / name for name in ("a", "b", "video.npy"))
    pipe.save_session(saved, session)
    assert_same_bits(copied(pipe.load_session(saved)), copied(session))
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", _RESUMED, saved, after, video]
    subprocess.run(command, check=True, cwd=root)
    step = pipe(session, observation(1, 9))
    assert np.load(video).tobytes() == np.asarray(step.video).tobytes()
    assert_same_bits(copied(pipe.load_session(after)), copied(step.session))

"""What a pipeline refuses, and that the session is as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params
from jax_stepcache.checkpoints.weights import save_weights
from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
    DreamZeroPipeline,
    Session,
    Statistics,
)

from ..robots import (
    CONFIG,
    MODEL,
    PARAMS,
    assert_same_bits,
    copied,
    observation,
    pipeline,
    prompts,
    walk,
)
from .statistics import NAMES, statistics


def _shown(**changes: Any) -> dict[str, Any]:
    return {k: x for k, x in (observation(1, 0) | changes).items() if x is not None}


_WRONG_OBSERVATIONS: dict[str, tuple[Any, str]] = {
    "wrong size of latents": (
        _shown(latents=np.zeros((1, 3, 2, 4, 6), np.float32)),
        r"'latents'.*\(1, 3, 2, 4, 6\).*\(1, 3, 2, 4, 4\)",
    ),
    "latents of bytes": (
        _shown(latents=np.zeros((1, 3, 2, 4, 4), np.uint8)),
        "'latents'.*dtype uint8",
    ),
    "another batch": (_shown(state=np.zeros((2, 1, 3), np.float32)), "'state'"),
    "no state": (_shown(state=None), r"lacks \['state'\]"),
    "no latents in mid-window": (_shown(latents=None), r"lacks \['latents'\]"),
    "a typo": (_shown(latent=0), "Did you mean 'latents'"),
    "no mapping": (np.zeros(3), "observation is a ndarray"),
    "restart of numbers": (_shown(restart=np.zeros(1)), "restart"),
    "restart of another batch": (_shown(restart=np.zeros(2, bool)), r"bool\[2\]"),
    "restart as a list": (_shown(restart=[True]), "restart.* is a list"),
    "a list": (_shown(state=[[[0.0]]]), "'state'.* is a list; give an array"),
    "a robot's state": (_shown(state={"joint_position": 0}), "needs .*statistics="),
    "a first frame beside y": (_shown(first=np.zeros(1)), "unknown part .*'first'"),
}


@pytest.mark.parametrize("what", _WRONG_OBSERVATIONS)
def test_wrong_observations_are_errors_and_leave_the_session(what: str) -> None:
    """What was given and what is allowed; the session steps on as if not asked."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0])
    before = copied(session)
    shown, message = _WRONG_OBSERVATIONS[what]
    with pytest.raises(ValueError, match=message):
        pipe(session, shown)
    assert_same_bits(copied(session), before)


_WRONG_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"num_inference_steps": 0}, "num_inference_steps is 0"),
    "solver": ({"solver": "unipcc"}, "Did you mean 'unipc'"),
    "noise": ({"noise": {"video": np.zeros(3)}}, "noise"),
    "an output": ({"final_noise": {"vide": 0.8}}, "Did you mean 'video'"),
    "a key": ({"key": np.zeros(3, np.uint32)}, r"key has shape \(3,\)"),
}


@pytest.mark.parametrize("what", _WRONG_OPTIONS)
def test_wrong_options_are_errors_and_leave_the_session(what: str) -> None:
    """Also what only the sampler can tell is told before the session is taken over."""
    pipe = pipeline()
    session = walk(pipe, pipe.start(*prompts(1)), [0])
    before = copied(session)
    options, message = _WRONG_OPTIONS[what]
    with pytest.raises(ValueError, match=message):
        pipe(session, observation(1, 0), **options)
    assert_same_bits(copied(session), before)


@pytest.mark.parametrize("missing", ["y", "image"])
def test_a_window_needs_its_first_frame(missing: str) -> None:
    """Whoever begins a window is told so, with the position."""
    pipe = pipeline()
    shown = {
        k: x for k, x in observation(1, 0).items() if k not in (missing, "latents")
    }
    with pytest.raises(ValueError, match=rf"lacks \['{missing}'\].*begin a window"):
        pipe(pipe.start(*prompts(1)), shown)


def test_sessions_of_another_kind_are_refused() -> None:
    """Another batch's branches, another model's sizes, one that was stepped on."""
    pipe = pipeline()
    text, negative = prompts(1)
    alone = pipeline(guidance_scale=1.0)
    with pytest.raises(ValueError, match="one branch and the guidance scale is 5"):
        pipe(alone.start(text), observation(1, 0))
    with pytest.raises(TypeError, match="begin one with"):
        pipe({"position": 0}, observation(1, 0))  # pyright: ignore
    longer = replace(CONFIG, max_chunk_size=3)
    other = DreamZeroPipeline(
        Params(PARAMS.weights, DreamZeroModel(longer, (4, 4))), cache_backend="none"
    )
    with pytest.raises(ValueError, match=r"session\.cache\.k"):
        other(pipe.start(text, negative), observation(1, 0))
    session = pipe.start(text, negative)
    walk(pipe, session, [0])
    with pytest.raises(ValueError, match="has been stepped on"):
        pipe(session, observation(1, 0))


def _start(text: Any, negative: Any = None, **options: Any) -> Callable[[], Session]:
    return lambda: pipeline(**options).start(text, negative)


_TEXT = prompts(1)[0]


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (_start(_TEXT), "needs negative_text"),
        (_start(_TEXT, _TEXT, guidance_scale=1.0), "not used at a guidance scale"),
        (_start(_TEXT[:, :2], _TEXT), r"text has shape \(1, 2, 5\)"),
        (_start(_TEXT, _TEXT[:0]), "negative_text has shape"),
        (_start(jnp.float32(0)), "text has shape"),
    ],
)
def test_prompts_that_do_not_fit_are_errors(
    begin: Callable[[], Session], message: str
) -> None:
    """Shapes are those of the configuration; the negative prompt goes with guidance."""
    with pytest.raises(ValueError, match=message):
        begin()


def test_states_in_robot_units_are_checked() -> None:
    """With statistics a state is a mapping, of the session's batch."""
    pipe = pipeline(statistics=statistics())
    session = pipe.start(*prompts(1))
    with pytest.raises(ValueError, match="is a mapping with"):
        pipe(session, observation(1, 0))
    two = {name: np.zeros((2, 1), np.float32) for name in NAMES}
    with pytest.raises(ValueError, match="2 robots"):
        pipe(session, observation(1, 0) | {"state": two})


def test_statistics_must_fit_the_model() -> None:
    """A robot with more joints than the model has actions is refused at once."""
    wide = {name: {"q01": [0.0] * 2, "q99": [1.0] * 2} for name in NAMES}
    entry = {"oxe_droid": {"statistics": {"state": wide, "action": wide}}}
    with pytest.raises(ValueError, match="actions of 4 components; the model has 2"):
        pipeline(statistics=Statistics.from_metadata(entry, "droid"))
    with pytest.raises(TypeError, match="give what load_statistics"):
        pipeline(statistics="metadata.json")


def test_params_of_something_else_are_refused() -> None:
    """The pipeline is for DreamZero."""
    with pytest.raises(ValueError, match="guidance_scale is nan"):
        pipeline(guidance_scale=float("nan"))
    with pytest.raises(TypeError, match="DreamZeroPipeline needs the params"):
        DreamZeroPipeline({"kernel": np.zeros(3)})  # pyright: ignore


def test_session_files_are_checked(tmp_path: Path) -> None:
    """Cut short, no session, or another model's: a clear error."""
    pipe = pipeline()
    path = tmp_path / "session"
    pipe.save_session(path, pipe.start(*prompts(1)))
    with pytest.raises(ValueError, match="another model or guidance"):
        pipeline(guidance_scale=1.0).load_session(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut short"):
        pipe.load_session(path)
    save_weights(path, {"a": np.zeros(2)}, {"model": "other"})
    with pytest.raises(ValueError, match="holds no session"):
        pipe.load_session(path)
    with pytest.raises(FileNotFoundError):
        pipe.load_session(tmp_path / "nowhere")


def test_latents_must_fit_the_transformer() -> None:
    """A model whose latents have another number of tokens is refused."""
    with pytest.raises(ValueError, match="frame_seqlen"):
        replace(MODEL, latent_size=(4, 6))
    with pytest.raises(ValueError, match="Did you mean 'velocity'"):
        replace(MODEL, prediction="velocit")


def test_a_step_may_not_want_guidance_without_rows_for_it() -> None:
    """A session has rows for it or has none, so a step cannot do otherwise."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    with pytest.raises(TypeError, match=r"guidance_scale is 1\.0, and the pipeline's"):
        pipe(session, observation(1, 0), guidance_scale=1.0)
    with pytest.raises(TypeError, match="condition= is no option here"):
        pipe(session, observation(1, 0), condition=())
    with pytest.raises(TypeError, match="noise is a ndarray"):
        pipe(session, observation(1, 0), noise=np.zeros(3))

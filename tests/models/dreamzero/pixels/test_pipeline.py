"""Control steps from messages: what a session remembers, and what it survives."""

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import (
    DreamZeroPipeline,
    Encoders,
    PictureSizes,
    Session,
)

from .messages import STATISTICS, message
from .whole import STEPS, tiny, tiny_folder


def _step(pipeline, session, donate=False, **changed):
    return pipeline(session, message(**changed), donate=donate, **STEPS)


@pytest.mark.slow
def test_a_session_goes_on():
    """Position, frames and reply after each step; a reset forgets frames and film."""
    pipeline = tiny()
    step = _step(pipeline, pipeline.start())
    assert (step.begins, step.session.csf, step.session.id) == (True, 3, "one")
    assert step.reply.shape == (24, 8)
    assert step.reply.dtype == np.float32
    assert step.canvas.shape == (1, 1, 32, 64, 3)
    later = _step(pipeline, step.session, frames=4, seed=1)
    assert (later.begins, later.session.csf) == (False, 5)
    assert int(later.session.latents.position[0]) == 5
    forgotten = pipeline.reset(later.session)
    assert pipeline.film(forgotten).shape == (0, 32, 64, 3)
    # The original's server of this kind keeps the position; one frame begins anew.
    assert forgotten.csf == 5
    assert _step(pipeline, forgotten, frames=2).session.csf == 3


@pytest.mark.slow
def test_what_is_imagined_is_a_film():
    """The stream is causal: what was imagined before stays what it was."""
    pipeline = tiny()
    step = _step(pipeline, pipeline.start())
    assert step.film().shape == (9, 32, 64, 3)
    later = _step(pipeline, step.session, frames=4, seed=1)
    film = later.film()
    assert film.dtype == np.uint8
    assert film.shape == (17, 32, 64, 3)
    np.testing.assert_array_equal(film[:9], step.film())


@pytest.mark.slow
def test_another_session_id_resets():
    """Frames of another episode are not shown: a window begins with the new one."""
    pipeline = tiny()
    first = _step(pipeline, pipeline.start()).session
    other = _step(pipeline, first, frames=4, session_id="two", seed=1)
    assert other.begins
    assert other.canvas.shape[1] == 1
    alone = _step(pipeline, pipeline.start(), frames=4, session_id="two", seed=1)
    np.testing.assert_allclose(other.reply, alone.reply, atol=1e-5)
    assert len(other.session.film) == 1
    unnamed = _step(pipeline, first, frames=4, session_id=None, seed=1)
    assert (unnamed.begins, unnamed.session.id) == (False, "one")


@pytest.mark.slow
def test_prompts_are_encoded_once_and_a_new_one_begins_a_window(monkeypatch):
    """And the negative prompt once a session."""
    pipeline, encoded = tiny(), []
    run = Encoders.prompts
    monkeypatch.setattr(
        Encoders,
        "prompts",
        lambda self, ids, mask: encoded.append(len(ids)) or run(self, ids, mask),
    )
    step = _step(pipeline, pipeline.start())
    assert encoded == [2]
    step = _step(pipeline, step.session, frames=4, prompt=" FOLD the towel ".strip())
    assert encoded == [2]
    assert not step.begins
    step = _step(pipeline, step.session, frames=4, prompt="Open the drawer")
    assert encoded == [2, 1]
    assert step.begins
    # As with donated buffers, where the session of latents is told its new prompt.
    donated = pipeline(
        _step(pipeline, pipeline.start()).session,
        message(frames=4, prompt="Open the drawer"),
        **STEPS,
    )
    alone = pipeline.start()
    alone = _step(pipeline, alone, frames=1)
    kept = _step(pipeline, alone.session, frames=4, prompt="Open the drawer")
    np.testing.assert_allclose(donated.reply, kept.reply, atol=1e-5)


WRIST = "wrist_image_left"


@pytest.mark.parametrize(
    ("changed", "options", "words"),
    [
        ({WRIST: None}, {}, "lacks 'observation/wrist_image_left'"),
        ({"prompt": ""}, {}, "'prompt' is empty"),
        (
            {"prompt": "fold " * 200},
            {},
            "'prompt', told with its views: .*room for 256",
        ),
        ({WRIST: np.zeros((4, 9, 9, 3), np.uint8)}, {}, "wrist_image_left has pictur"),
        ({WRIST: np.zeros((3, 20, 30, 3), np.uint8)}, {}, "same number of frames"),
        ({"prompt": "Other"}, {"num_inference_steps": 0}, "num_inference_steps"),
        ({"prompt": "Other"}, {"noise": {"video": np.zeros(1)}}, "noise has structure"),
    ],
)
def test_after_a_bad_message_the_session_goes_on(changed, options, words):
    """Nothing was taken over before all was looked at, even with donated buffers."""
    pipeline = tiny()
    session = _step(pipeline, pipeline.start()).session
    bad = message(frames=4, **changed)
    with pytest.raises(ValueError, match=words):
        pipeline(session, bad, **{**STEPS, **options})
    good = _step(pipeline, session, frames=4, donate=True)
    assert good.session.csf == 5
    # And one whose buffers were given away says so.
    with pytest.raises(ValueError, match="has been stepped on"):
        _step(pipeline, session, frames=4)


@pytest.mark.slow
def test_many_robots_are_each_as_if_alone():
    """Own frames, prompts and places in the window; errors with the robot's index."""
    pipeline = tiny(cache_backend="step_cache")
    sessions = [_step(pipeline, pipeline.start(), seed=i).session for i in range(2)]
    sessions.append(pipeline.start())
    messages = [
        message(frames=4, seed=3),
        message(frames=4, seed=4, prompt="Open the drawer"),
        message(seed=5, size=(24, 40)),
    ]
    alone = [
        pipeline(session, one, donate=False, num_inference_steps=3)
        for session, one in zip(sessions, messages, strict=True)
    ]
    with pytest.raises(ValueError, match=r"sessions\[1\].*'prompt' is empty"):
        pipeline.step_many(
            sessions,
            [messages[0], message(prompt=""), messages[2]],
            num_inference_steps=3,
        )
    together = pipeline.step_many(sessions, messages, slots=2, num_inference_steps=3)
    assert [step.begins for step in together] == [False, True, True]
    for one, step in zip(alone, together, strict=True):
        np.testing.assert_allclose(step.reply, one.reply, atol=1e-4)
        assert step.session.csf == one.session.csf
        np.testing.assert_array_equal(step.canvas, one.canvas)


@pytest.mark.slow
def test_the_5b_kind_resets_whole_and_runs_without_conditioning_latents():
    """Frames come in at the size of views, the canvas is halved, position forgotten."""
    pipeline = tiny("ti2v", guidance_scale=1.0)
    assert pipeline.senses.sizes == PictureSizes((64, 128), (64, 128), (64, 128))
    step = _step(pipeline, pipeline.start())
    assert step.canvas.shape == (1, 1, 128, 256, 3)
    assert step.film().shape == (9, 64, 128, 3)
    forgotten = pipeline.reset(step.session)
    assert (forgotten.csf, forgotten.id) == (0, None)
    assert _step(pipeline, forgotten, frames=4).session.csf == 3


@pytest.mark.slow
def test_an_offloaded_text_encoder_says_the_same():
    """Its weights wait on the host as NumPy arrays."""
    offloaded = tiny(offload=True)
    weights = jax.tree.leaves(offloaded.senses.encoders.text.weights)
    assert all(isinstance(x, np.ndarray) for x in weights)
    ours = _step(offloaded, offloaded.start()).reply
    wanted = _step(tiny(), tiny().start()).reply
    np.testing.assert_array_equal(ours, wanted)


def test_latents_may_be_given_beside_messages():
    """The lower-level entry stays: sessions of encoded prompts."""
    pipeline = tiny()
    text = np.ones((1, 256, 24), np.float32)
    session = pipeline.start(text, text)
    assert isinstance(session, Session)


def test_what_does_not_go_together_is_named():
    """Encoders without statistics, of another width; sessions without encoders."""
    whole = tiny()
    params, encoders = whole.params, whole.senses.encoders
    with pytest.raises(ValueError, match="need statistics="):
        DreamZeroPipeline(params, encoders=encoders)
    with pytest.raises(TypeError, match=r"encoders is .*; give an Encoders"):
        DreamZeroPipeline(params, statistics=STATISTICS, encoders=encoders.vae)
    with pytest.raises(ValueError, match=r"pictures of \(8, 8\) would be encoded"):
        DreamZeroPipeline(
            params,
            statistics=STATISTICS,
            encoders=encoders,
            pictures=PictureSizes((4, 4)),
        )
    with pytest.raises(
        ValueError, match="VAE's channels: 48; the transformer takes 16"
    ):
        DreamZeroPipeline(
            params, statistics=STATISTICS, encoders=tiny("ti2v").senses.encoders
        )
    with pytest.raises(TypeError, match=r"encoders\.image is .*CLIPVision"):
        Encoders(encoders.tokenize, encoders.text, encoders.vae, encoders.vae)
    with pytest.raises(ValueError, match="has no encoders"):
        DreamZeroPipeline(params).start()
    with pytest.raises(ValueError, match="unknown embodiment"):
        DreamZeroPipeline.from_folder("nowhere", embodiment="human")


def test_a_tokenizer_may_lie_elsewhere(tmp_path):
    """By its place; where there is none, the error names the places looked at."""
    folder = tiny_folder()
    with pytest.raises(FileNotFoundError, match="there is no tokenizer in"):
        DreamZeroPipeline.from_folder(folder, tokenizer=tmp_path)
    file = folder / "tokenizer.json"
    pipeline = DreamZeroPipeline.from_folder(folder, tokenizer=file)
    ids, mask = pipeline.senses.encoders.tokenize(["Open &amp; shut"])
    again, _ = tiny().senses.encoders.tokenize(["Open  & shut"])
    np.testing.assert_array_equal(ids, again)  # Cleaned, as the original does.
    assert 0 < mask.sum() < 20

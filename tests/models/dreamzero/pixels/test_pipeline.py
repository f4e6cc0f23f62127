"""Control steps from messages: what a session remembers, and what it survives."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import (
    DreamZeroPipeline,
    Encoders,
    PictureSizes,
    Session,
)
from jax_stepcache.models.wan_vae import Tiles

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
        ({"prompt": "Other"}, {"key": jax.random.split(jax.random.key(0))}, "key has"),
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
def test_many_robots_are_each_as_if_alone(monkeypatch):
    """Own frames, prompts and places in the window; those that are alike are encoded in
    one call, each text once; errors have the robot's index."""
    pipeline = tiny(cache_backend="step_cache")
    sessions = [_step(pipeline, pipeline.start(), seed=i).session for i in range(3)]
    sessions += [pipeline.start(), pipeline.start()]
    messages = [
        message(frames=4, seed=3),
        message(frames=4, seed=4, prompt="Open the drawer"),
        message(frames=4, seed=6),
        message(seed=5, size=(24, 40)),
        message(seed=7),
    ]
    alone = [
        pipeline(session, one, donate=False, num_inference_steps=3)
        for session, one in zip(sessions, messages, strict=True)
    ]
    with pytest.raises(ValueError, match=r"sessions\[1\].*'prompt' is empty"):
        pipeline.step_many(
            sessions,
            [messages[0], message(prompt=""), *messages[2:]],
            num_inference_steps=3,
        )
    encoded = []
    for name in ("prompts", "later", "first"):
        monkeypatch.setattr(Encoders, name, _told(encoded, name))
    together = pipeline.step_many(sessions, messages, slots=2, num_inference_steps=3)
    # The first and the third go on; of five prompts three texts are new.
    assert sorted(encoded) == [
        ("first", 1),
        ("first", 1),
        ("first", 1),
        ("later", 2),
        ("prompts", 3),
    ]
    assert [step.begins for step in together] == [False, True, False, True, True]
    for one, step in zip(alone, together, strict=True):
        np.testing.assert_allclose(step.reply, one.reply, atol=1e-4)
        assert step.session.csf == one.session.csf
        np.testing.assert_array_equal(step.canvas, one.canvas)


def _told(encoded, name):
    """An encoder that writes down how many rows it was given."""
    run = getattr(Encoders, name)

    def told(self, *given):
        rows = given[0] if name == "prompts" else given[-1]
        encoded.append((name, len(rows)))
        return run(self, *given)

    return told


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
def test_offloaded_encoders_say_the_same():
    """Their weights wait on the host as NumPy arrays, those of the VAE's encoder do
    not."""
    offloaded = tiny(offload=("text_encoder", "image_encoder", "decoder"))
    encoders = offloaded.senses.encoders
    vae = encoders.vae.weights
    waiting = encoders.text.weights, encoders.image.weights, vae["decoder"]
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(waiting))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(vae["encoder"]))
    step = _step(offloaded, offloaded.start())
    wanted = _step(tiny(), tiny().start())
    np.testing.assert_array_equal(step.reply, wanted.reply)
    np.testing.assert_array_equal(step.film(), wanted.film())


def test_what_cannot_be_offloaded_is_named():
    """With the nearest that can."""
    encoders = tiny().senses.encoders
    assert encoders.offloaded(False).waiting == {}
    assert set(encoders.offloaded(True).waiting) == {"text_encoder"}
    with pytest.raises(ValueError, match=r"part to offload 'text'.*'text_encoder'"):
        encoders.offloaded("text")
    with pytest.raises(TypeError, match=r"tiles is 3; give wan_vae\.Tiles"):
        replace(encoders, tiles=3)


@pytest.mark.slow
def test_pictures_that_do_not_fit_go_through_the_vae_in_tiles():
    """Both ways, where a window begins as well; one tile over all changes nothing."""
    senses = tiny().senses
    canvases = senses.canvas(
        {
            camera: message(frames=4)[key][None]
            for camera, key in zip(senses.views.cameras, senses.views.keys, strict=True)
        }
    )

    def made(tiles):
        encoders = replace(senses.encoders, tiles=tiles)
        latents = encoders.later(senses.sizes, canvases)
        begun = encoders.first(senses.sizes, 1, canvases)[1]
        return [np.asarray(x, np.float32) for x in (latents, begun)] + [
            encoders.film(latents).astype(np.float32)
        ]

    whole, one, cut = made(None), made(Tiles()), made(Tiles(2, 4, 1, 2))
    for a, b, c in zip(whole, one, cut, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 if a.ndim == 5 else 1)
        assert c.shape == a.shape
        assert np.abs(a - c).max() > 1e-3
    assert tiny(tiles=Tiles()).senses.encoders.tiles == Tiles()


@pytest.mark.slow
def test_bfloat16_says_nearly_the_same():
    """All networks in it, what robots are told in float32."""
    pipeline = tiny(dtype="bfloat16")
    encoders = pipeline.senses.encoders
    for params in (pipeline.params, encoders.text, encoders.image, encoders.vae):
        dtypes = {str(x.dtype) for x in jax.tree.leaves(params.weights)}
        assert dtypes == {"bfloat16"}
    step, wanted = (_step(one, one.start()) for one in (pipeline, tiny()))
    np.testing.assert_array_equal(step.canvas, wanted.canvas)
    assert step.reply.dtype == np.float32
    assert 0 < np.abs(step.reply - wanted.reply).max() < 0.1
    film, theirs = (x.film().astype(int) for x in (step, wanted))
    assert np.abs(film - theirs).mean() < 5


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

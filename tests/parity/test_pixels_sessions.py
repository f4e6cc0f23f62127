"""Whole sessions, from the robot's message to its reply and the film."""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import DreamZeroPipeline, actions_to_robot
from jax_stepcache.models.dreamzero.pixels.programs import begin_window, go_on
from jax_stepcache.models.dreamzero.pixels.windows import conditioning

from . import recorded_pixels as pixels
from .cases import parametrize, pixels_files
from .recorded_pixels import Recorded

LATENTS = 1e-3
ENCODED = 2e-4
PROMPTS = 1e-4
# Once a pixel was off by a level, which moves the reply.
FROM_THE_REQUEST = 1e-2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = pixels_files(metafunc.config)
    ids = [f"pixels-{file.name}" for file in files]
    parametrize(metafunc, "session", [Recorded(file) for file in files], ids)


def _pipeline(session: Recorded) -> DreamZeroPipeline:
    static = re.search(r"static(\d+)", session.path.stem)
    cache: dict[str, Any] = {"cache_backend": "step_cache"}
    if not session.config["dynamic"]:
        steps = int(static[1]) if static else 8
        cache = {
            "cache_backend": "static",
            "cache_config": {"num_dit_steps": steps},
        }
    return DreamZeroPipeline(
        session.transformer(),
        guidance_scale=5.0,
        statistics=session.statistics,
        encoders=session.encoders(),
        pictures=session.sizes,
        **cache,
    )


@pytest.mark.slow
def test_sessions_from_the_request(session: Recorded) -> None:
    """csf, decisions and prefills exact; latents, replies and films close.

    The robot's messages go in, in order, and nothing else but the recorded noise.
    """
    pipeline = _pipeline(session)
    noise = {
        "video": session.arrays["noise_obs"],
        "action": session.arrays["noise_action"],
    }
    robot, apart = pipeline.start(), 0.0
    for number, call in enumerate(session.calls()):
        begun = robot
        if pixels.begins_session(call, robot.id):
            begun = pipeline.reset(robot)
        assert begun.csf == call["csf_before"]
        if "saved_video_before" in call:
            film = pipeline.film(robot)
            assert pixels.levels_apart(film, call["saved_video_before"])[0] <= 1
            assert pipeline.film(begun).shape == (0, *film.shape[1:])
        if "reset_before" in call:  # Otherwise the new id does it.
            robot = begun
        step = pipeline(robot, pixels.request(call), noise=noise)
        robot = step.session
        assert robot.csf == call["csf_after"]
        assert int(robot.latents.position[0]) == call["csf_after"]
        most, part = pixels.levels_apart(step.canvas, call["canvas"])
        assert most <= 1
        assert part <= 2e-3
        apart = max(apart, part)
        assert step.begins == (call["dit0/noisy_input"].shape[2] == 1)
        ran = np.asarray(step.stats.computed)
        assert ran.tolist() == call["decisions"].tolist()
        within = FROM_THE_REQUEST if apart else LATENTS
        close("latents", robot.film[-1], call["out/latents"][0], within)
        close("action", step.control.action, call["out/action_normalised"], within)
        close("reply", step.reply, call["reply"], within)
        if number == 0 and "decode/first_call" in session.arrays:
            theirs = (session.arrays["decode/first_call"][0] + 1) * 127.5
            theirs = np.moveaxis(theirs.astype(np.uint8), 0, -1)
            assert pixels.levels_apart(step.film(), theirs)[0] <= 1
    most, _ = pixels.levels_apart(step.film(), session.arrays["saved_video_last"])
    assert most <= 1


@pytest.mark.slow
def test_steps_from_the_canvas(session: Recorded) -> None:
    """Given the recorded canvas, latents, prefill inputs and replies to 1e-3."""
    pipeline = _pipeline(session)
    senses = pipeline.senses
    noise = {
        "video": session.arrays["noise_obs"],
        "action": session.arrays["noise_action"],
    }
    latents, ids = None, None
    for call in session.calls():
        message = senses.heard(pipeline.start(), pixels.request(call))
        if latents is None or not np.array_equal(ids, call["ids"]):
            prompts = call["prompt_pos"], call["prompt_neg"]
            if latents is None:
                latents = pipeline.start(*prompts)
            else:
                latents = pipeline.prompt(latents, *prompts)
            ids = call["ids"]
        begins = "ys" in call
        shown = senses.encoded(jnp.asarray(call["canvas"]), begins)
        shown |= {"state": message.state, "restart": np.full(1, begins)}
        prefill = call["dit0/noisy_input"]
        if "ys" in call:
            first = shown["first"] if "first" in shown else shown["y"][:, 4:, :1]
            close("prefill", first, prefill, ENCODED)
        else:
            close("prefill", shown["latents"], prefill, ENCODED)
        step = pipeline(latents, shown, noise=noise)
        latents = step.session
        assert np.asarray(step.stats.computed).tolist() == (call["decisions"].tolist())
        close("latents", step.frames()[None], call["out/latents"], LATENTS)
        close("action", step.action, call["out/action_normalised"], LATENTS)
        said = actions_to_robot(session.statistics, step.action, message.state)
        keys = session.statistics.embodiment.action_keys
        reply = np.concatenate([said[key][0] for key in keys], axis=-1)
        close("reply", reply, call["reply"], LATENTS)


@pytest.mark.slow
def test_encoders_give_the_originals_numbers(session: Recorded) -> None:
    """Prompts, features of the frame that begins a window, latents of a canvas."""
    encoders = session.encoders()
    settings = encoders.vae_config, session.sizes
    for call in session.calls():
        for kind, suffix in (("pos", ""), ("neg", "_negative")):
            ours = encoders.prompts(call["ids" + suffix], call["mask" + suffix])
            close(f"prompt_{kind}", ours, call[f"prompt_{kind}"], PROMPTS)
        canvases, vae = jnp.asarray(call["canvas"]), encoders.vae.weights
        if "ys" in call:
            frames = session.config["num_frames"]
            first, latents = begin_window(*settings, frames, vae, canvases)
            close("ys", conditioning(latents), call["ys"], ENCODED)
            close("clip", encoders.features(first), call["clip"], PROMPTS)
        else:
            latents = go_on(*settings, vae, canvases)
            close("obs_latents", latents, call["obs_latents"], ENCODED)


def close(what: str, ours: Any, theirs: np.ndarray, most: float) -> None:
    """Shapes agree, and all values to the tolerance."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape}, not {theirs.shape}"
    error = np.max(np.abs(ours - theirs))
    assert error <= most, f"{what}: max error {error:.2e}"

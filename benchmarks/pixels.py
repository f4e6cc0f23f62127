# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""Where a control step from pictures and words spends time and memory, stage by stage.

From the robot's message to the film: each stage by itself, waited for, and the whole
step. Memory is what a stage's program holds while it runs: what it is given, weights
among it, what it makes, and what it needs in between.

    python benchmarks/pixels.py --json FILE                    # a tiny model whole
    python benchmarks/pixels.py --folder DreamZero-DROID --dtype bfloat16
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dreamzero import median_seconds
from report import print_table, write_json

from jax_stepcache.models.clip_vision import encoding as pictures
from jax_stepcache.models.dreamzero import DreamZeroPipeline, RobotSession
from jax_stepcache.models.dreamzero.control import programs as control
from jax_stepcache.models.dreamzero.pixels import programs
from jax_stepcache.models.dreamzero.pixels.canvas import canvas
from jax_stepcache.models.dreamzero.pixels.prompt import NEGATIVE_PROMPT, prompt_text
from jax_stepcache.models.dreamzero.pixels.senses import Senses
from jax_stepcache.models.dreamzero.pixels.tiny import write_tiny
from jax_stepcache.models.dreamzero.pixels.windows import frames_at_first
from jax_stepcache.models.encoders.programs import film_of
from jax_stepcache.models.umt5 import encoding as words
from jax_stepcache.network.inputs import default_key
from jax_stepcache.options import Options, resolve
from jax_stepcache.paths import path_option
from jax_stepcache.sampling import _run

NUM_STEPS, CALLS = 16, 4
# As in `dreamzero.py`: any cosine passes, and the countdown says which steps run.
CACHE = {"velocity_sim_thresholds": (-1.0,), "velocity_skip_countdowns": (4,)}
CAMERA = (180, 320)
WHEN = ("each message", "a window begins", "a new prompt", "it is asked for")


class Stage(NamedTuple):
    """One stage.

    Attributes:
        when: of `WHEN`.
        run: does it; its result is waited for.
        program: a jitted function and its arguments, or None where the host does it.
    """

    when: str
    run: Callable[[], Any]
    program: tuple[Any, ...] | None = None


def message(frames: int, seed: int = 0) -> dict[str, Any]:
    """What a DROID robot sends; noise in place of pictures."""
    rng = np.random.default_rng(seed)
    cameras = ("exterior_image_0_left", "exterior_image_1_left", "wrist_image_left")
    pictures = {
        f"observation/{name}": rng.integers(0, 256, (frames, *CAMERA, 3), np.uint8)
        for name in cameras
    }
    return {
        **pictures,
        "observation/joint_position": np.zeros(7, np.float32),
        "observation/gripper_position": np.zeros(1, np.float32),
        "prompt": "Pick up the red cube and put it into the blue bowl",
    }


def stages(pipeline: DreamZeroPipeline) -> dict[str, Stage]:
    """The stages of a pipeline, in the middle of a window and where one begins.

    Args:
        pipeline: with encoders.

    Returns:
        Stages by name, in order.
    """
    assert pipeline.senses is not None
    options = {"num_inference_steps": NUM_STEPS}
    begun = pipeline(pipeline.start(), message(1), **options).session
    step = pipeline(begun, message(4), donate=False, **options)
    calls = int(step.stats.model_calls)
    if calls != CALLS:
        raise ValueError(f"a control step of {CALLS} model calls made {calls}")

    def whole() -> Any:
        return pipeline(begun, message(4), donate=False, **options).reply

    return {
        **_seeing(pipeline.senses, begun),
        **_reading(pipeline.senses),
        **_imagining(pipeline, begun),
        "control step, message to reply": Stage(WHEN[0], whole),
        **_showing(pipeline.senses, step.session),
    }


def _seeing(senses: Senses, begun: RobotSession) -> dict[str, Stage]:
    """From the message to latents and features."""
    encoders, sizes, dit = senses.encoders, senses.sizes, senses.model.dit
    config, vae = encoders.vae_config, encoders.vae.weights
    heard = senses.heard(begun, message(4))
    frames = jax.device_put(dict(heard.frames))
    canvases = canvas(sizes, senses.views, frames)
    one = canvases[:, -1:]
    count = frames_at_first(dit.window, dit.concat_first_frame_latent)
    first, _ = encoders.first(sizes, count, one)
    last = jnp.moveaxis(first, 1, -1)
    clip = encoders.image.model.config, encoders.image.weights, last
    return {
        "message checked, frames kept": Stage(
            WHEN[0], lambda: senses.heard(begun, message(4)).frames
        ),
        "uint8 frames sent": Stage(WHEN[0], lambda: jax.device_put(dict(heard.frames))),
        "canvas": _program(WHEN[0], canvas, sizes, senses.views, frames),
        "VAE, 4 frames": _program(
            WHEN[0], programs.go_on, config, sizes, vae, canvases
        ),
        f"VAE, {count} frames": _program(
            WHEN[1], programs.begin_window, config, sizes, count, vae, one
        ),
        "CLIP": _program(WHEN[1], pictures._encode, *clip),
    }


def _reading(senses: Senses) -> dict[str, Stage]:
    """The prompt and the negative one."""
    tokenize, text = senses.encoders.tokenize, senses.encoders.text
    said = [prompt_text(senses.views, message(1)["prompt"]), NEGATIVE_PROMPT]
    tokens = tokenize(said)
    config = text.model.config
    return {
        "tokens of 2 prompts": Stage(WHEN[2], lambda: tokenize(said)),
        "text, 2 prompts": _program(
            WHEN[2], words._encode, config, text.weights, *tokens
        ),
    }


def _imagining(pipeline: DreamZeroPipeline, begun: RobotSession) -> dict[str, Stage]:
    """The transformer's part."""
    assert pipeline.senses is not None
    params, session = pipeline.params, begun.latents
    assert session is not None
    heard = pipeline.senses.heard(begun, message(4))
    shown = pipeline._checked(session, pipeline.senses.seen([heard])[0].shown, None)
    given = params.weights, session, shown.observation, default_key()
    observe = control.observe, pipeline.model, pipeline._mesh, *given
    observed, noise = control.observe(*observe[1:])
    generation = resolve(
        params,
        Options(
            **pipeline._preset,
            condition=observed.condition,
            noise=noise,
            num_inference_steps=NUM_STEPS,
            guidance_scale=pipeline.guidance_scale,
        ),
    )
    return {
        "prefill": _program(WHEN[0], *observe),
        f"denoise, {CALLS} of {NUM_STEPS} calls": _program(
            WHEN[0], _run, "batch", generation
        ),
    }


def _showing(senses: Senses, session: RobotSession) -> dict[str, Stage]:
    """The film."""
    config, vae = senses.encoders.vae_config, senses.encoders.vae.weights
    film = np.concatenate([np.asarray(x) for x in session.film], axis=1)[None]
    name = f"film of {4 * film.shape[2] - 3} frames"
    return {name: _program(WHEN[3], film_of, config, vae, film)}


def _program(when: str, jitted: Any, *arguments: Any) -> Stage:
    return Stage(when, lambda: jitted(*arguments), (jitted, *arguments))


def measure(pipeline: DreamZeroPipeline, repeats: int) -> dict[str, dict[str, Any]]:
    """Times the stages in turn, and asks their programs what they hold.

    Args:
        pipeline: with encoders.
        repeats: timed runs of each.

    Returns:
        Rows by name: when it is done, seconds, and bytes held and needed in between,
        None where the host does it or programs of their own.
    """
    all_of_them = stages(pipeline)
    runs = {name: stage.run for name, stage in all_of_them.items()}
    seconds = median_seconds(runs, repeats)
    return {
        name: {"when": stage.when, "seconds": seconds[name], **_memory(stage)}
        for name, stage in all_of_them.items()
    }


def _memory(stage: Stage) -> dict[str, int | None]:
    if stage.program is None:
        return {"held_bytes": None, "temporary_bytes": None}
    jitted, *arguments = stage.program
    found = jitted.lower(*arguments).compile().memory_analysis()
    temporary = found.temp_size_in_bytes
    held = temporary + found.argument_size_in_bytes + found.output_size_in_bytes
    return {"held_bytes": held, "temporary_bytes": temporary}


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--folder", type=path_option, help="a released folder; a tiny one unless given"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=path_option, help="where to write the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        whole = given.folder or write_tiny(f"{folder}/DreamZero-tiny")
        pipeline = DreamZeroPipeline.from_folder(
            whole, dtype=given.dtype, cache_backend="step_cache", cache_config=CACHE
        )
    rows = measure(pipeline, given.repeats)
    print_table(rows)
    if given.json:
        name = given.folder.name if given.folder else "DreamZero-tiny"
        dtype = pipeline.model.dit.dtype
        write_json(given.json, {"run": {"model": name, "dtype": dtype}, "rows": rows})


if __name__ == "__main__":
    main()

"""What `test_pixels_on_meshes` runs on four devices, in a process of its own."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType

from jax_stepcache import load_params
from jax_stepcache.models.dreamzero import (
    DreamZeroPipeline,
    Encoders,
    load_statistics,
)
from jax_stepcache.models.dreamzero.pixels.tiny import write_tiny

from ..models.dreamzero.pixels.messages import message
from .devices import main

STEPS = {"num_inference_steps": 2}


@functools.cache
def _folder():
    return write_tiny(Path(tempfile.mkdtemp()) / "tiny")


def _walked(pipeline):
    """Replies of a step that begins a window and of one that goes on, and the film."""
    step = pipeline(pipeline.start(), message(), **STEPS)
    later = pipeline(step.session, message(frames=4, seed=1), **STEPS)
    return step.reply, later.reply, later.film().astype(np.int16)


@functools.cache
def _alone():
    return _walked(DreamZeroPipeline.from_folder(_folder()))


def _same(found):
    for ours, wanted, most in zip(found, _alone(), (1e-4, 1e-4, 1), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=most)


def elsewhere():
    """Each encoder on a device of its own, none of them the transformer's; one that
    waits on the host goes back to its own."""
    encoders = DreamZeroPipeline.from_folder(_folder()).senses.encoders
    parts = {}
    names = ("text_encoder", "image_encoder", "vae")
    for name, device in zip(names, jax.devices()[1:], strict=True):
        with jax.default_device(device):
            params = load_params(_folder(), part=name)
        parts[name] = jax.device_put(params, device)
    apart = Encoders(encoders.tokenize, *parts.values())
    pipeline = DreamZeroPipeline(
        load_params(_folder()),
        statistics=load_statistics(_folder(), "oxe_droid"),
        encoders=apart.offloaded("text_encoder"),
    )
    _same(_walked(pipeline))


def on_a_mesh():
    """All networks by rules, on axes of types; a session from disk goes on there."""
    mesh = jax.make_mesh(
        (2, 2), ("branch", "tensor"), axis_types=(AxisType.Explicit,) * 2
    )
    pipeline = DreamZeroPipeline.from_folder(_folder(), mesh=mesh, rules="branches")
    for part in ("text", "image"):
        weights = getattr(pipeline.senses.encoders, part).weights
        specs = [x.sharding.spec for x in jax.tree.leaves(weights)]
        assert any("tensor" in spec for spec in specs), part
    replies = _walked(pipeline)
    _same(replies)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "robot"
        step = pipeline(pipeline.start(), message(), **STEPS)
        pipeline.save_session(file, step.session)
        again = pipeline.load_session(file)
    kept = jax.tree.leaves(step.session.latents)
    for x, wanted in zip(jax.tree.leaves(again.latents), kept, strict=True):
        assert x.sharding.is_equivalent_to(wanted.sharding, x.ndim)
    later = pipeline(again, message(frames=4, seed=1), **STEPS)
    np.testing.assert_allclose(later.reply, replies[1], atol=1e-5)


CASES = {"elsewhere": elsewhere, "branches": on_a_mesh}

if __name__ == "__main__":
    main(CASES)

"""Words and pictures to films, whole: diffusers' own pipelines on the same folders."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.models.prompts.cleaning import clean
from jax_stepcache.models.wan import WanPipeline
from jax_stepcache.models.wan.tiny import KINDS, write_tiny

RECORDED = Path(__file__).parents[2] / "data" / "wan_pipelines"
pytest.importorskip("tokenizers")
pytest.importorskip("ftfy")
pytest.importorskip("PIL")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, "t2v-video"])
def test_films_are_diffusers(name, tmp_path):
    """Cleaning, encoding, conditions, experts, sampling and decoding: to a level; and
    a video that is changed, of whose steps the last ones are taken."""
    kind = name.removesuffix("-video")
    with np.load(RECORDED / f"{name}.npz") as opened:
        arrays = {name: opened[name] for name in opened.files}
    call = json.loads(str(arrays["settings"]))
    ids = {
        call.pop(f"{what}_cleaned"): arrays[f"ids/{what}"]
        for what in ("prompt", "negative_prompt")
    }

    def tokenize(said):
        # Other versions of the tokenizer's library train another one.
        rows = [np.pad(ids[clean(text)], (0, 512))[:512] for text in said]
        mask = [np.arange(512) < len(ids[clean(text)]) for text in said]
        return np.stack(rows).astype(np.int32), np.stack(mask).astype(np.int32)

    folder = write_tiny(tmp_path / kind, kind)
    pipeline = WanPipeline.from_folder(folder, tokenizer=tokenize)
    given = ("image", "last_image", "video")
    pictures = {n: arrays[n] for n in given if n in arrays}
    with jax.default_matmul_precision("highest"):
        film = pipeline(call.pop("prompt"), noise=arrays["noise"], **call, **pictures)
    assert np.asarray(film.stats.computed).all()
    wanted = arrays["latents"][0]
    most = 2e-5 * np.abs(wanted).max()
    np.testing.assert_allclose(film.latents, wanted, rtol=0, atol=most)
    levels = film.frames.astype(int) - arrays["frames"]
    assert film.frames.dtype == np.uint8
    assert np.abs(levels).max() <= 1

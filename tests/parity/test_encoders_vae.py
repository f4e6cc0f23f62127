"""Wan's VAEs give the original's numbers, whole and piece by piece."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.models.wan_vae import (
    decode,
    decode_piece,
    encode,
    encode_piece,
    fresh_decoder,
    fresh_encoder,
    import_state_dict,
)

from .cases import parametrize
from .recorded_vae import (
    PREFIX,
    TOLERANCE,
    WITHIN,
    assert_close,
    case_names,
    has,
    load,
    outside,
    pieces_of,
    tensors,
    vae_files,
    walk,
)

# What a file must have for a test of it.
_NEEDED = {
    "test_stream_matches_original": "stream/enc0/latent",
    "test_last_latent_of_a_stream_needs_its_state": "stream/last_latent_alone",
    "test_tensors_have_diffusers_names": "names",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files, test = vae_files(metafunc.config), metafunc.definition.name
    if "case" not in metafunc.fixturenames:
        files = [file for file in files if has(file, _NEEDED[test])]
        ids = [f"encoders-{file.name}" for file in files]
        parametrize(metafunc, "file", files, ids)
        return
    wanted = "mid/" if test == "test_inside_matches_original" else "video"
    cases = [
        (file, case)
        for file in files
        for case in case_names(file)
        if has(file, f"{case}/{wanted}")
    ]
    ids = [f"encoders-{file.name}-{case}" for file, case in cases]
    parametrize(metafunc, "file, case", cases, ids, [file.name for file, _ in cases])


def test_whole_matches_original(file: Path, case: str) -> None:
    """Latents of the video, and frames of the latents, are the original's."""
    arrays, config, weights = load(file)
    latent = arrays[f"{case}/latent"]
    ours = encode(config, weights, arrays[f"{case}/video"])
    assert_close("latent", ours, latent, TOLERANCE)
    frames = decode(config, weights, latent)
    assert_close("frames", frames, arrays[f"{case}/decoded_unclamped"], TOLERANCE)


@pytest.mark.slow
def test_inside_matches_original(file: Path, case: str) -> None:
    """So is what every part gives on the way, pieces joined in time."""
    recorded = load(file)
    arrays, config, _ = recorded
    fed = {
        "encoder": pieces_of(arrays[f"{case}/video"], 1, 4),
        "decoder": pieces_of(arrays[f"{case}/latent"], 1, 1),
    }
    ours: dict[str, list[np.ndarray]] = {}
    for coder, pieces in fed.items():
        slots = None
        for piece in pieces:
            seen, slots = walk(recorded, coder, piece, slots)
            for name, x in seen.items():
                ours.setdefault(name, []).append(x)
    joined = {name: np.concatenate(parts, axis=2) for name, parts in ours.items()}
    beginning = f"{case}/mid/"
    theirs = {
        name.removeprefix(beginning): array
        for name, array in arrays.items()
        if name.startswith(beginning)
    }
    assert theirs.keys() <= joined.keys()
    for name, array in theirs.items():
        # The decoder was recorded twice, one time after the other.
        half = array.shape[2] // 2 if name.startswith("decoder") else array.shape[2]
        assert_close(name, joined[name], array[:, :, :half], WITHIN)
    assert config.dtype == "float32"


def test_stream_matches_original(file: Path) -> None:
    """Every piece, and every slot that was recorded after it, is the original's."""
    recorded = load(file)
    arrays, config, weights = recorded
    state, video, slots = fresh_encoder(config), arrays["stream/video"], None
    start, done = 0, []
    while (name := f"stream/enc{len(done)}") + "/latent" in arrays:
        latent = arrays[f"{name}/latent"]
        frames = latent.shape[2] * config.temporal_stride if done else 1
        piece = video[:, :, start : start + frames]
        start += frames
        state, ours = encode_piece(config, weights, state, piece)
        assert_close(f"{name}/latent", ours, latent, TOLERANCE)
        seen, slots = walk(recorded, "encoder", piece, slots)
        moments = arrays[f"{name}/encoder_out"]
        assert_close(f"{name}/encoder_out", seen["encoder"], moments, WITHIN)
        _assert_slots(arrays, name, state)
        done.append(np.asarray(ours))
    assert start == video.shape[2]
    joined = np.concatenate(done, axis=2)
    assert_close("stream/latent", joined, arrays["stream/latent"], TOLERANCE)

    state, latent, done = fresh_decoder(config), arrays["stream/latent"], []
    for i in range(latent.shape[2]):
        name = f"stream/dec{i}"
        state, ours = decode_piece(config, weights, state, latent[:, :, i : i + 1])
        done.append(np.asarray(ours))
        if f"{name}/frames" in arrays:
            assert_close(name, ours, arrays[f"{name}/frames"], TOLERANCE)
        _assert_slots(arrays, name, state)
    whole = arrays["stream/decoded_unclamped"]
    assert_close("stream", np.concatenate(done, axis=2), whole, TOLERANCE)


def test_last_latent_of_a_stream_needs_its_state(file: Path) -> None:
    """Alone it decodes to another frame, which is the original's, too."""
    arrays, config, weights = load(file)
    last = arrays["stream/latent"][:, :, -1:]
    alone = arrays["stream/last_latent_alone"]
    assert_close("alone", decode(config, weights, last), alone, TOLERANCE)
    assert np.abs(alone - arrays["stream/decoded_unclamped"][:, :, -1:]).max() > WITHIN


def test_tensors_have_diffusers_names(file: Path) -> None:
    """Under the names that the file says diffusers has, the weights are the same."""
    arrays, config, weights = load(file)
    names = json.loads(str(np.ravel(arrays["names"])[0]))
    theirs = {
        names[f"{PREFIX.removeprefix('w/')}{name}"]: tensor
        for name, tensor in tensors(arrays).items()
    }
    jax.tree.map(
        np.testing.assert_array_equal,
        import_state_dict(config, theirs, naming="diffusers"),
        weights,
    )


def _assert_slots(arrays: dict[str, np.ndarray], name: str, state: tuple) -> None:
    """Zeros stand before a stream's first frame, and alone for the mark "Rep"."""
    if f"{name}/cache0" not in arrays:
        return
    for i, slot in enumerate(state):
        ours = outside(slot)
        if f"{name}/cache{i}_marker" in arrays:
            assert str(arrays[f"{name}/cache{i}_marker"][0]) == "Rep"
            assert not ours.any()
            continue
        theirs = arrays[f"{name}/cache{i}"]
        before = ours.shape[2] - theirs.shape[2]
        assert not ours[:, :, :before].any()
        assert_close(f"{name}/cache{i}", ours[:, :, before:], theirs, WITHIN)
    assert f"{name}/cache{len(state)}" not in arrays

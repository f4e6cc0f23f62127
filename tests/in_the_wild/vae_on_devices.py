"""What `test_vae_on_meshes` runs on four devices, in a process of its own."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.models.wan_vae import (
    Tiles,
    decode,
    decode_tiled,
    encode,
    encode_piece,
    fresh_encoder,
    weight_axes,
)

from ..models.wan_vae.small import OF_21, OF_22, video_of, weights_of
from .devices import main

ROWS = 4


def _placed(kind, rules, config):
    """A mesh, the weights as the rules have them, and videos by rows."""
    types = {"explicit": AxisType.Explicit, "auto": AxisType.Auto}
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(types[kind],) * 2)
    placed = PlacedByName(Layout(mesh, rules), weight_axes, {})
    weights = weights_of(config)
    weights = jax.device_put(weights, placed.shardings(weights))
    video = video_of(config, 5, batch=ROWS)
    return weights, jax.device_put(video, NamedSharding(mesh, P("data")))


def _same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert ours.sharding.spec[0] == "data", ours.sharding


def whole(kind, rules, config):
    """Both directions give what one device gives, and stay where the rows are."""
    weights, video = _placed(kind, rules, config)
    wanted = encode(config, weights_of(config), np.asarray(video))
    latents = encode(config, weights, video)
    _same(latents, wanted)
    wanted = decode(config, weights_of(config), wanted)
    _same(decode(config, weights, latents), wanted)


def streamed():
    """The slots of a stream lie where its rows are, from piece to piece."""
    weights, video = _placed("auto", "tensor", OF_21)
    state, pieces = fresh_encoder(OF_21), []
    for piece in (video[:, :, :1], video[:, :, 1:]):
        state, latents = encode_piece(OF_21, weights, state, piece)
        assert {slot.sharding.spec[0] for slot in state} == {"data"}
        pieces.append(np.asarray(latents))
    wanted = encode(OF_21, weights_of(OF_21), np.asarray(video))
    np.testing.assert_allclose(np.concatenate(pieces, axis=2), wanted, atol=1e-4)


def tiled():
    """Tiles are cut out of each device's rows."""
    weights, video = _placed("auto", "tensor", OF_21)
    latents = encode(OF_21, weights, video)
    tiles = Tiles(1, 1, 1, 1)
    wanted = decode_tiled(OF_21, weights_of(OF_21), np.asarray(latents), tiles)
    _same(decode_tiled(OF_21, weights, latents, tiles), wanted)


# Each kind of axes with each rule, and each of both with each VAE.
CASES = {
    f"{kind} {rules} {name}": lambda kind=kind, rules=rules, config=config: whole(
        kind, rules, config
    )
    for kind, rules, name, config in (
        ("auto", "tensor", "2.1", OF_21),
        ("auto", "fsdp", "2.2", OF_22),
        ("explicit", "tensor", "2.2", OF_22),
        ("explicit", "fsdp", "2.1", OF_21),
    )
} | {"streamed": streamed, "tiled": tiled}

if __name__ == "__main__":
    main(CASES)

"""What `test_encoders_on_meshes` runs on four devices, in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache import load_params, save_params
from jax_stepcache.models import clip_vision, umt5

from ..models.clip_vision import small as image
from ..models.umt5 import small as text
from .devices import main

ROWS = 4


def _text(rng):
    ids = rng.integers(2, text.SMALL.vocab, (ROWS, 8))
    mask = np.arange(8) < np.array([[3], [8], [1], [5]])
    return umt5, text, (ids, mask.astype(np.int32))


def _image(rng):
    shown = rng.integers(0, 256, (ROWS, 9, 17, 3), np.uint8)
    return clip_vision, image, (shown,)


def same(rules, part, types):
    """What one device gives, each row where it belongs; from files and from Orbax."""
    package, small, given = part(np.random.default_rng(0))
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(types,) * 2)
    tensors = small.tensors_of(small.SMALL)
    heads = {"num_heads": small.SMALL.num_heads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text.write(folder / "model.safetensors", tensors, heads)
        alone = load_params(folder)
        params = load_params(folder, mesh=mesh, rules=rules)
        save_params(folder / "ours", alone)
        again = load_params(folder / "ours", mesh=mesh, rules=rules)
    for loaded in (params, again):
        loaded.model.layout.check_placed(loaded.weights, "weight")
        jax.tree.map(np.testing.assert_array_equal, loaded.weights, alone.weights)
    config = alone.model.config
    wanted = package.encode(config, alone.weights, *given)
    # Weights lie on axes left to the compiler, so rows do, too.
    where = NamedSharding(params.model.layout.mesh, P("data"))
    rows = jax.device_put(given, where)
    found = package.encode(config, params.weights, *rows)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert found.sharding.spec[0] == "data", found.sharding
    if rules == "tensor":
        cut = [x for x in jax.tree.leaves(params.weights) if "model" in x.sharding.spec]
        assert len(cut) >= 4


def explicit(part):
    """Rows on explicit axes, weights whole; the result's type says where rows lie."""
    package, small, given = part(np.random.default_rng(0))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    config, weights = small.SMALL, small.weights_of(small.SMALL)
    wanted = package.encode(config, weights, *given)
    weights = jax.device_put(weights, NamedSharding(mesh, P()))
    rows = jax.device_put(given, NamedSharding(mesh, P("data")))
    found = package.encode(config, weights, *rows)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert jax.typeof(found).sharding.spec[0] == "data"


CASES = {
    f"{part.__name__[1:]} {rules} {kind}": lambda rules=rules, part=part, t=t: same(
        rules, part, t
    )
    for part in (_text, _image)
    for rules in ("tensor", "fsdp")
    for kind, t in (("auto", AxisType.Auto), ("explicit", AxisType.Explicit))
} | {
    f"{part.__name__[1:]} rows": lambda part=part: explicit(part)
    for part in (_text, _image)
}

if __name__ == "__main__":
    main(CASES)

"""One part of a policy is never taken for another of as many numbers.

JAX finds a compiled program by the structure of its arguments. Of two dataclasses that
are registered by its own function, structures with as many fields are equal.
"""

import itertools
import re
from collections.abc import Hashable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import register_dataclass
from jax_stepcache.nodes import parts_of
from jax_stepcache.options import Options, resolve
from jax_stepcache.policy.gates import Verdict

from .docs.pages import ROOT


@register_dataclass
@dataclass(frozen=True)
class Pair:
    """Two numbers and a name."""

    a: object
    b: object
    name: str = field(default="pair", metadata={"static": True})


def test_parts_of_the_library_are_told_apart():
    """All of its public dataclasses, whatever they have in common."""
    kinds = [
        kind
        for name in dir(jax_stepcache)
        if is_dataclass(kind := getattr(jax_stepcache, name)) and isinstance(kind, type)
    ]
    nodes = []
    for kind in kinds:
        part = object.__new__(kind)
        for one in fields(kind):
            static = one.metadata.get("static")
            object.__setattr__(part, one.name, None if static else 0.0)
        if jax.tree.leaves(part) != [part]:
            nodes.append(jax.tree.structure(part))
    assert len(nodes) > 25
    for one, other in itertools.combinations(nodes, 2):
        assert one != other


def test_no_file_registers_as_jax_does():
    """Whose nodes are alike: the one that says so is the one that helps it."""
    for folder in ("jax_stepcache", "models", "docs", "examples"):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in (".py", ".md") and file.name != "nodes.py":
                found = re.search(r"tree_util\.register_dataclass", file.read_text())
                assert not found, file


def test_a_node_goes_apart_and_together():
    """Children in the order of fields, by their names; what is static has a hash."""
    given = Pair(jnp.ones(2), {"c": jnp.zeros(3)}, "some")
    leaves, structure = jax.tree.flatten(given)
    assert [x.shape for x in leaves] == [(2,), (3,)]
    assert jax.tree.unflatten(structure, leaves).name == "some"
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(given)]
    assert paths == [".a", ".b['c']"]
    assert isinstance(structure, Hashable)
    assert structure == jax.tree.structure(Pair(1, {"c": 2}, "some"))
    assert hash(structure) == hash(jax.tree.structure(Pair(1, {"c": 2}, "some")))
    assert structure != jax.tree.structure(Pair(1, {"c": 2}, "other"))
    doubled = jax.jit(lambda pair: jax.tree.map(lambda x: 2 * x, pair))(given)
    np.testing.assert_array_equal(doubled.a, [2, 2])
    rows = jax.vmap(lambda pair: pair.a.sum(), in_axes=(Pair(0, None, "some"),))
    assert rows(Pair(jnp.ones((3, 2)), jnp.ones(4), "some")).shape == (3,)


def test_what_cannot_be_a_node():
    """No dataclass, or one whose constructor does not take what it holds."""
    with pytest.raises(TypeError, match="is no dataclass"):
        register_dataclass(int)

    @dataclass
    class Made:
        a: int = field(init=False, default=0)

    with pytest.raises(TypeError, match=r"Made\.a is no argument"):
        register_dataclass(Made)


class Every:
    """A gate of somebody's own, registered by JAX's function."""

    steps: ClassVar[int]

    def init(self, num_steps):
        return jnp.zeros(())

    def decide(self, state, step, signal):
        nothing = jnp.float32(jnp.nan)
        return Verdict(step % self.steps == 0, nothing, nothing, state)

    def record(self, state):
        return state


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Evens(Every):
    """Reuses at odd steps."""

    steps: ClassVar[int] = 2
    x: float = 0.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Thirds(Every):
    """Reuses two steps of three."""

    steps: ClassVar[int] = 3
    x: float = 0.0


def test_gates_of_ones_own_are_told_apart_too():
    """However they are registered: what is compiled says what it is made of."""
    evens, thirds = (jax_stepcache.compose(gate=gate()) for gate in (Evens, Thirds))
    assert parts_of(evens) != parts_of(thirds)
    assert parts_of(evens) == parts_of(jax_stepcache.compose(gate=Evens(jnp.ones(()))))
    shared = {
        "model": lambda w, x, t, c: x,
        "noise": jnp.ones((1, 2)),
        "num_inference_steps": 4,
    }
    one, other = (
        resolve((), Options(cache=cache, **shared)).program for cache in (evens, thirds)
    )
    assert one != other

"""Glue to other people's networks is short; what a registry has of them runs."""

import ast
import importlib
import os
import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "strangers"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def needed(name):
    """A module of other people's; in CI it must be there, elsewhere it may lack."""
    if os.environ.get("CI") == "true":
        return importlib.import_module(name)
    return pytest.importorskip(name, reason="needs equinox, flaxdiff and einops")


def test_in_ci_nothing_is_skipped(monkeypatch):
    """A proof by strangers' code that has not run is a failure there."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ModuleNotFoundError, match="no_such_network"):
        needed("no_such_network")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="needs equinox"):
        needed("no_such_network")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_glue_is_short(script):
    """At most 25 lines with imports; blank ones and the docstring do not count."""
    text = script.read_text()
    said = ast.get_docstring(ast.parse(text))
    assert said
    lines = [line for line in text.split('"""')[2].splitlines() if line.strip()]
    assert len(lines) <= 25
    assert f"`{script.name}`" in (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_flaxdiff(capsys):
    """FlaxDiff's own SimpleDiT, from the registry, skips steps with TeaCache."""
    needed("flaxdiff.models.simple_dit")
    runpy.run_path(str(FOLDER / "flaxdiff_dit.py"), run_name="__main__")
    printed = capsys.readouterr().out
    uncached, cached = re.findall(r"^run +([█·]+)$", printed, re.MULTILINE)
    assert uncached == "█" * 16
    assert 2 < cached.count("█") < 16


@pytest.mark.slow
def test_equinox():
    """Equinox's own modules come apart as other pytrees do."""
    eqx = needed("equinox")
    import jax
    import jax.numpy as jnp

    from jax_stepcache import adapt

    class Block(eqx.Module):
        ada: eqx.nn.Linear
        attention: eqx.nn.MultiheadAttention

        def __call__(self, x, temb):
            scale, shift = jnp.split(self.ada(temb), 2)
            seen = x * (1 + scale) + shift
            return x + self.attention(seen, seen, seen)

    class Network(eqx.Module):
        inward: eqx.nn.Linear
        time: eqx.nn.MLP
        outward: eqx.nn.Linear
        blocks: list

        def __call__(self, x, t, condition):
            temb = self.time(t[None] / 1000)
            x = jax.vmap(self.inward)(x) + condition
            for block in self.blocks:
                x = block(x, temb)
            return jax.vmap(self.outward)(x)

    keys = iter(jax.random.split(jax.random.key(0), 9))
    blocks = [
        Block(
            eqx.nn.Linear(8, 16, key=next(keys)),
            eqx.nn.MultiheadAttention(2, 8, key=next(keys)),
        )
        for _ in range(3)
    ]
    network = Network(
        eqx.nn.Linear(3, 8, key=next(keys)),
        eqx.nn.MLP(1, 8, 8, 1, key=next(keys)),
        eqx.nn.Linear(8, 3, key=next(keys)),
        blocks,
    )

    def call(network, x, t, condition):
        return jax.vmap(network)(x, t, condition)

    weights, model = adapt(
        network,
        call=call,
        blocks=lambda n: n.blocks,
        modulated=lambda block: block.attention,
    )
    given = jnp.ones((2, 4, 3)), jnp.asarray([700.0, 300.0]), jnp.ones((2, 8))
    hidden, context = model.embed(weights, *given)
    assert model.modulated(weights, hidden, context).shape == (2, 4, 8)
    hidden = model.blocks(weights, hidden, context, 0, 3)
    said = model.head(weights, hidden, context)
    assert jnp.allclose(said, call(network, *given), atol=1e-6)

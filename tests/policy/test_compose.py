"""Policies of one's own: which parts go together, and what they compile to."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Span, Taylor, compose
from jax_stepcache.policy.gates import (
    Accumulate,
    Always,
    Below,
    LastStep,
    Mask,
    MaxConsecutive,
    Tiers,
    WarmUp,
)
from jax_stepcache.policy.signals import (
    Cosine,
    FirstBlocks,
    MagnitudeRatio,
    ModulatedInput,
    Nothing,
    Spectrum,
)

from ..jaxprs import primitives
from ..staged import NUM_BLOCKS, NUM_STEPS, SCANNED, SKIPPING, UNROLLED, run

GATE = Below(0.1)


@pytest.mark.parametrize(
    ("signal", "span"),
    [
        (Cosine(), "blocks"),
        (Cosine(), Span(first=1)),
        (FirstBlocks(), None),
        (ModulatedInput(), "network"),
        (MagnitudeRatio(), None),
    ],
)
def test_a_signal_must_see_what_it_looks_at(signal, span):
    """A signal of the wrong side of the network is refused, with what would do."""
    with pytest.raises(ValueError, match=type(signal).__name__) as error:
        compose(signal=signal, gate=GATE, span=span)
    assert f"looks at the {signal.looks_at}" in str(error.value)
    seen = str(error.value).split("It sees: ")[1].split(", ")
    assert signal.looks_at not in seen
    assert "sample" in seen


@pytest.mark.parametrize(
    ("signal", "span"),
    [
        (Cosine(), None),
        (Spectrum(), None),
        (Spectrum(), "blocks"),
        (MagnitudeRatio(), "blocks"),
        (ModulatedInput(), Span(1, 1)),
        (FirstBlocks(), Span(first=2)),
    ],
)
def test_what_goes_together(signal, span):
    """Every signal has its side, and the sample is seen from both."""
    policy = compose(signal=signal, gate=GATE, span=span)
    assert policy.signal is signal
    assert (policy.span is None) == (span in (None, "network"))


@pytest.mark.parametrize("gate", [GATE, WarmUp(LastStep(GATE), 2)])
def test_a_gate_that_compares_needs_a_signal(gate):
    """Without one it would never reuse; a gate that follows a schedule needs none."""
    with pytest.raises(ValueError, match="none is given: it would never reuse"):
        compose(gate=gate)
    assert isinstance(compose(gate=Mask([True, False])).signal, Nothing)


def test_first_blocks_need_some():
    """A signal of the first blocks without any is refused, naming the setting."""
    with pytest.raises(ValueError, match=r"first=1 or more \(Fn_compute_blocks\)"):
        compose(signal=FirstBlocks(), gate=GATE, span="blocks")


def test_inside_there_is_no_velocity():
    """LinearX0 needs a velocity, and one forecast for each output needs outputs."""
    with pytest.raises(ValueError, match="inside the network there is no velocity"):
        compose(gate=GATE, forecast="linear_x0", span="blocks")
    compose(signal=Cosine(), gate=GATE, forecast="linear_x0")
    each = {"video": "hold", "action": "linear"}
    with pytest.raises(ValueError, match=r"one for each of \['action', 'video'\]"):
        compose(gate=GATE, forecast=each, span="blocks")
    compose(signal=Cosine(), gate=GATE, forecast=each)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"gate": 0.1}, "gate is 0.1; it must have a method 'decide'"),
        ({"gate": Below}, "gate is .*; it must have a method 'decide'"),
        ({"gate": FirstBlocks()}, "gate is FirstBlocks.*'decide'"),
        ({"gate": GATE, "signal": GATE}, "signal is Below.*'measure'"),
        ({"gate": GATE, "signal": Cosine}, "signal is .*'measure'"),
        ({"gate": GATE, "forecast": 3}, "forecast is 3"),
        ({"gate": GATE, "span": 2}, "span is 2; give 'network', 'blocks' or a Span"),
    ],
)
def test_parts_of_the_wrong_kind(parts, message):
    """Each part says what it must be."""
    with pytest.raises(TypeError, match=message):
        compose(**parts)


def test_spans():
    """Spans go by name; a typo gets the nearest; counts are whole and not negative."""
    with pytest.raises(ValueError, match=r"unknown span 'block'.*'blocks'"):
        compose(gate=GATE, span="block")
    for wrong in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"a span's first is {wrong}"):
            Span(first=wrong)
        with pytest.raises(ValueError, match=f"a span's last is {wrong}"):
            Span(last=wrong)


def test_a_policy_of_ones_own_skips_and_computes():
    """Three parts that no backend puts together, around all blocks."""
    gate = LastStep(MaxConsecutive(WarmUp(Accumulate(1e6), 2), 2))
    policy = compose(
        signal=ModulatedInput(), gate=gate, forecast=Taylor(2), span="blocks"
    )
    result = run(policy)
    expected = [1, 1, 0, 0, 1, 0, 0, 1]
    assert result.stats.computed.astype(int).tolist() == expected
    assert result.stats.model_calls == 4


def test_calibration_computes_and_shows_the_signal():
    """A gate that always runs shows what it would have looked at, and skips nothing."""
    uncached = run()
    shown = run(compose(signal=MagnitudeRatio(), gate=Always(), span="blocks"))
    np.testing.assert_allclose(shown.sample, uncached.sample, atol=1e-6)
    assert shown.stats.model_calls == NUM_STEPS
    assert np.isfinite(shown.stats.signal).all()
    assert (shown.stats.signal[:2] == 1).all()
    assert (np.asarray(shown.stats.signal[2:]) != 1).all()
    ratios = {"mag_ratios": shown.stats.signal.tolist()}
    assert 0 < run("mag_cache", ratios).stats.model_calls < NUM_STEPS


# Dots of embed and head, and of one block.
ENDS, BLOCK = 2, 1


def dots_and_conds(model, cache, config):
    counts = primitives(lambda: run(cache, config, model=model).sample)
    return counts["dot_general"], counts["cond"]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("tea_cache", 0, 0),
        ("cache_dit", 1, 0),
        ("cache_dit", 1, 1),
        ("mag_cache", 0, 0),
        ("sea_cache", 0, 0),
        ("first_block_cache", 1, 0),
        ("taylor_seer", 0, 0),
    ],
)
def test_each_block_has_one_call_site(name, first, last):
    """Unrolled, a cache adds no matrix product; scanned, one for each end of its span.

    The gates here have no product of their own, and each program has one `cond`.
    """
    config = SKIPPING[name] | {"Bn_compute_blocks": last}
    assert dots_and_conds(UNROLLED, None, None) == (ENDS + NUM_BLOCKS * BLOCK, 0)
    assert dots_and_conds(UNROLLED, name, config) == (ENDS + NUM_BLOCKS * BLOCK, 1)
    assert dots_and_conds(SCANNED, None, None) == (ENDS + BLOCK, 0)
    scans = 1 + first + last
    assert dots_and_conds(SCANNED, name, config) == (ENDS + scans * BLOCK, 1)


def test_the_compiled_program_has_no_second_network():
    """The compiler, too, leaves one call site of each block, and of each end's scan."""
    config = SKIPPING["cache_dit"] | {"Bn_compute_blocks": 1}
    for model, more in ((UNROLLED, 0), (SCANNED, 2 * BLOCK)):
        plain = compiled_dots(model, None, None)
        cached = compiled_dots(model, "cache_dit", config)
        assert plain <= cached <= plain + more


def compiled_dots(model, cache, config):
    program = jax.jit(lambda: run(cache, config, model=model).sample).lower().compile()
    # As benchmarks/overhead.py counts them: library calls may return tuples.
    products = r"= .*?(?: dot\(| custom-call\(.*(?:gemm|matmul|cublas))"
    count = len(re.findall(products, program.as_text()))
    assert count, "found no matrix product in the program: look how it is named"
    return count


def test_gates_of_step_cache_work_inside():
    """A gate that was made for the whole forward may look at a signal from within."""
    gate = Tiers(jnp.array([0.0]), jnp.array([2]))
    result = run(compose(signal=FirstBlocks(), gate=gate, span=Span(1)))
    assert 2 <= result.stats.model_calls < NUM_STEPS


def test_masks_inside_must_fit_the_steps():
    """A mask of another length is an error inside as it is around the forward."""
    with pytest.raises(ValueError, match="8 steps need"):
        run(compose(gate=Mask(jnp.array([True, False])), span="blocks"))

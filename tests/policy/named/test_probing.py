"""EasyCache and DiCache in whole generations, beside NumPy's account of their scripts.

The originals are scripts for CUDA around large models. What is here was written from
reading them: HunyuanVideo's of EasyCache, and FLUX's of DiCache.
"""

import numpy as np
import pytest

from jax_stepcache import explicit_schedule

from ...staged import NUM_STEPS, WEIGHTS, conditions, noise, run

PLAIN = {name: np.asarray(w, np.float64) for name, w in WEIGHTS.items()}


def tokens(x, t, condition):
    """The small network's first stage, in NumPy."""
    return x @ PLAIN["in"] + condition[:, None], t / 1000 * PLAIN["time"]


def through(h, time, start, stop):
    for layer in range(start, stop):
        h = h + 0.5 * np.tanh((h + time) @ PLAIN["blocks"][layer])
    return h


def network(x, t, condition):
    h, time = tokens(x, t, condition)
    return through(h, time, 0, len(PLAIN["blocks"])) @ PLAIN["out"]


LEVELS = np.linspace(1, 0, NUM_STEPS + 1)
AS_HERE = {
    "num_inference_steps": None,
    "schedule": explicit_schedule(LEVELS, 1000 * LEVELS[:-1]),
}


def size(x):
    return np.abs(x).mean()


def easily(velocity, x, levels, thresh, ret_steps):
    """EasyCache's forward around a function of the sample and the level."""
    before = output = offset = anchor = rate = None
    total, computed = 0.0, []
    for step, level in enumerate(levels[:-1]):
        last = len(levels) - 2
        if step < ret_steps or step == last:
            runs, total = True, 0.0
        else:
            runs = True
            if rate is not None:
                total += rate * size(x - before) / size(output)
                runs = not total < thresh
                total = 0.0 if runs else total
        before = x
        if runs:
            new = velocity(x, level)
            if output is not None:
                rate = size(new - output) / size(x - anchor)
            output, anchor, offset = new, x, new - x
        x = x + (levels[step + 1] - level) * (x + offset)
        computed.append(runs)
    return computed, x


@pytest.mark.parametrize(("thresh", "ret_steps"), [(0.15, 2), (0.4, 3), (0.0, 1)])
@pytest.mark.filterwarnings("ignore:.* will skip no step of")
def test_easy_cache_is_the_originals(thresh, ret_steps):
    """It decides alike and comes to the same sample; under guidance by the velocity."""
    scales = (1.0, 2.0)
    for scale in scales:
        rows = [np.asarray(x, np.float64) for x in conditions()]

        def velocity(x, level, rows=rows, scale=scale):
            first, other = (network(x, 1000 * level, row) for row in rows)
            return other + scale * (first - other) if scale != 1 else first

        x = np.asarray(noise(), np.float64)
        expected, end = easily(velocity, x, LEVELS, thresh, ret_steps)
        settings = {"thresh": thresh, "ret_steps": ret_steps}
        ours = run("easy_cache", settings, guided=scale != 1, **AS_HERE)
        assert ours.stats.computed.tolist() == expected
        assert thresh == 0 or not all(expected)
        np.testing.assert_allclose(ours.sample, end, atol=1e-4)


def probing(velocity_of, x, levels, thresh, ret_ratio, choice):
    """DiCache's forward; `velocity_of` goes through the network's parts."""
    steps = len(levels) - 1
    before = None
    total, computed, wholes, probes = 0.0, [], [], []
    for step, level in enumerate(levels[:-1]):
        entering, behind, rest = velocity_of(x, level)
        forced = step <= int(ret_ratio * steps) or step == steps - 1
        runs = True
        if forced:
            total = 0.0
        else:
            pairs = zip((entering, behind), before, strict=True)
            moved = [size(a - b) / size(b) for a, b in pairs]
            total += moved[1] if choice == "delta_y" else abs(moved[1] - moved[0])
            runs = not total < thresh
            total = 0.0 if runs else total
        before = entering, behind
        if runs:
            hidden, said = rest(None)
            wholes.append(hidden - entering)
            probes.append(behind - entering)
        elif len(wholes) < 2:
            said = rest(entering + wholes[-1])[1]
        else:
            share = size(behind - entering - probes[-2]) / size(probes[-1] - probes[-2])
            share = np.clip(share, 1, 1.5)
            line = wholes[-2] + share * (wholes[-1] - wholes[-2])
            said = rest(entering + line)[1]
        x = x + (levels[step + 1] - level) * said
        computed.append(runs)
    return computed, x


@pytest.mark.parametrize(
    ("thresh", "depth", "choice"),
    [(0.4, 1, "delta_y"), (0.3, 2, "delta_y"), (0.05, 1, "delta_minus")],
)
def test_di_cache_is_the_originals(thresh, depth, choice):
    """It decides alike, aligns alike and comes to the same sample."""
    condition = np.asarray(conditions()[0], np.float64)

    def parts(x, level):
        h, time = tokens(x, 1000 * level, condition)
        behind = through(h, time, 0, depth)

        def rest(leaving):
            blocks = len(PLAIN["blocks"])
            hidden = (
                through(behind, time, depth, blocks) if leaving is None else leaving
            )
            return hidden, hidden @ PLAIN["out"]

        return h, behind, rest

    x = np.asarray(noise(), np.float64)
    expected, end = probing(parts, x, LEVELS, thresh, 0.2, choice)
    settings = {"rel_l1_thresh": thresh, "probe_depth": depth, "error_choice": choice}
    ours = run("di_cache", settings, **AS_HERE)
    assert ours.stats.computed.tolist() == expected
    assert sum(expected) < NUM_STEPS
    np.testing.assert_allclose(ours.sample, end, atol=1e-4)

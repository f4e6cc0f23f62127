"""Robot units and the network's: quantiles, clipping, relative joints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.dreamzero.robot.embodiments import (
    EMBODIMENTS,
)
from jax_stepcache.models.dreamzero.robot.quantiles import Quantiles
from jax_stepcache.models.dreamzero.robot.statistics import Statistics
from jax_stepcache.models.dreamzero.robot.units import (
    actions_to_robot,
    normalise_state,
    robot_to_actions,
)

from .machines import SMALL, STATISTICS, WIDTHS, metadata, quantiles, small

# Compiled once per shape: operation by operation they take longer to compile.
to_network = jax.jit(normalise_state, static_argnums=2)


to_robot = jax.jit(actions_to_robot)


from_robot = jax.jit(robot_to_actions, static_argnums=3)


STATE = {"arm": np.array([[1.0, 0.5]]), "hand": np.array([[0.1]])}


def random_state(name, batch, seed=1):
    rng = np.random.default_rng(seed)
    keys = EMBODIMENTS[name].state_keys
    return {key: rng.uniform(-3, 3, (batch, WIDTHS[name][key])) for key in keys}


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_state(name):
    """2 (x - q01) / (q99 - q01) - 1, clipped, concatenated in order, zeros after it."""
    statistics = Statistics.from_metadata(metadata(name), name)
    state = random_state(name, 2)
    got = to_network(statistics, dict(reversed(state.items())), 64)
    q01, q99 = quantiles(metadata(name), name, "state")
    raw = np.concatenate([state[key] for key in EMBODIMENTS[name].state_keys], -1)
    scaled = 2 * (raw - q01) / (q99 - q01) - 1
    assert np.any(scaled > 1)
    assert np.any(scaled < -1)
    assert got.shape == (2, 1, 64)
    assert got.dtype == jnp.float32
    width = raw.shape[1]
    np.testing.assert_allclose(got[:, 0, :width], np.clip(scaled, -1, 1), atol=1e-5)
    assert not np.any(got[:, 0, width:])


def test_state_by_hand():
    """The quantiles are -1 and 1, beyond them is clipped."""
    arm, hand = np.array([[1.0, 5.0], [-1.0, 2.0]]), np.array([[0.125], [-9.0]])
    got = to_network(STATISTICS, {"arm": arm, "hand": hand}, 5)
    expected = [[[0, 1, -0.5, 0, 0]], [[-1, 1, -1, 0, 0]]]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_equal_quantiles_of_a_state():
    """Where the quantiles are equal the value is kept, and clipped; gradients exist."""
    entry = {"q01": [0.3, 0.3], "q99": [0.3, 1.3]}
    statistics = Statistics.from_metadata(small(state__arm=entry), SMALL)
    arm = np.array([[0.7, 0.8], [-4, 0.8]], np.float32)
    state = {"arm": arm, "hand": np.zeros((2, 1), np.float32)}
    got = to_network(statistics, state, 5)
    expected = [[0.7, 0, -1, 0, 0], [-1, 0, -1, 0, 0]]
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-6)
    slope = jax.jit(jax.grad(lambda x: normalise_state(statistics, x, 5).sum()))(state)
    np.testing.assert_allclose(slope["arm"], [[1, 2], [0, 2]], rtol=1e-6)


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_actions(name):
    """(x + 1) / 2 (q99 - q01) + q01, plus the state for relative keys only.

    Nothing is clamped, and components past the robot's are dropped.
    """
    robot = EMBODIMENTS[name]
    statistics = Statistics.from_metadata(metadata(name), robot)
    state = random_state(name, 2)
    actions = np.random.default_rng(2).uniform(-2, 2, (2, 24, 32)).astype(np.float32)
    got = to_robot(statistics, actions, state)
    q01, q99 = quantiles(metadata(name), name, "action")
    raw = (actions[..., : len(q01)] + 1.0) / 2 * (q99 - q01) + q01
    assert np.any(raw > q99)
    assert np.any(raw < q01)
    assert set(got) == set(robot.action_keys)
    start = 0
    for key in robot.action_keys:
        expected = raw[..., start : start + WIDTHS[name][key]]
        if key in robot.relative_keys:
            expected = expected + state[key][:, None]
        np.testing.assert_allclose(got[key], expected, atol=5e-6)
        assert got[key].dtype == jnp.float32
        start += WIDTHS[name][key]


def test_actions_by_hand():
    """The arm is relative to the raw state of its name, the hand is absolute."""
    actions = np.array([[[0, 0, 0, 9.0], [1, 1, -1, 9], [3, -2, 0, 9]]])
    got = to_robot(STATISTICS, actions, STATE)
    np.testing.assert_allclose(got["hand"], [[[0.5], [1], [2]]])
    arm = [[[1, 0.7], [1.2, 0.1], [0.6, 0.7]]]
    np.testing.assert_allclose(got["arm"], arm, rtol=1e-6)


def test_robot_to_actions_by_hand():
    """The state is taken off, then as a state: clipped, then zeros."""
    robot = {
        "arm": np.array([[[1.0, 0.7], [1.1, 0.1], [9.0, -9.0]]]),
        "hand": np.array([[[0.5], [1.0], [2.0]]]),
    }
    got = from_robot(STATISTICS, robot, STATE, 4)
    expected = [[[0, 0, 0, 0], [1, 0.5, -1, 0], [1, 1, -1, 0]]]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.dtype == jnp.float32


def test_equal_quantiles_of_an_action():
    """Forwards the value is kept, backwards any prediction gives the quantile."""
    entry = {"q01": [0.3], "q99": [0.3]}
    statistics = Statistics.from_metadata(small(action__hand=entry), SMALL)
    robot = {"arm": np.ones((1, 2, 2)), "hand": np.array([[[0.3], [-7.0]]])}
    actions = from_robot(statistics, robot, STATE, 5)
    np.testing.assert_allclose(actions[0, :, 0], [0.3, -1])
    back = to_robot(statistics, actions, STATE)
    np.testing.assert_allclose(back["hand"], [[[0.3], [0.3]]])


values = partial(st.floats, width=32, allow_subnormal=False)


@given(
    low=st.lists(values(-100, 100), min_size=3, max_size=3),
    span=st.lists(values(0, 100), min_size=3, max_size=3),
    place=st.lists(values(0, 1), min_size=6, max_size=6),
    arm=st.lists(values(-100, 100), min_size=2, max_size=2),
)
def test_round_trip(low, span, place, arm):
    """Between the quantiles, robot to network to robot is the identity."""
    q01 = np.array(low, np.float32)
    q99 = (q01 + np.array(span, np.float32)).astype(np.float32)
    statistics = replace(
        STATISTICS, action=Quantiles(jnp.asarray(q01), jnp.asarray(q99))
    )
    raw = q01 + np.array(place).reshape(1, 2, 3) * (q99.astype(np.float64) - q01)
    state = STATE | {"arm": np.array([arm])}
    robot = {"hand": raw[..., :1], "arm": raw[..., 1:] + state["arm"][:, None]}
    actions = from_robot(statistics, robot, state, 5)
    assert np.all(np.abs(actions) <= 1)
    back = to_robot(statistics, actions, state)
    for key, wanted in robot.items():
        scale = np.abs([*q01, *q99, *arm]).max()
        np.testing.assert_allclose(back[key], wanted, rtol=1e-5, atol=1e-5 * scale)


def test_other_numbers_are_not_another_program():
    """Statistics are arrays under jit: a second robot of the kind does not retrace."""
    traces = []

    @jax.jit
    def both(statistics, actions, state):
        traces.append(statistics)
        robot = actions_to_robot(statistics, actions, state)
        back = robot_to_actions(statistics, robot, state, 32)
        return robot, back, normalise_state(statistics, state, 64)

    actions = np.random.default_rng(3).uniform(-1, 1, (2, 24, 32)).astype(np.float32)
    for seed in (0, 1):
        statistics = Statistics.from_metadata(metadata("yam", seed), "yam")
        state = random_state("yam", 2, seed)
        robot, back, normalised = both(statistics, actions, state)
        want = to_robot(statistics, actions, state)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), robot, want)
        np.testing.assert_allclose(back[..., :14], actions[..., :14], atol=1e-4)
        want = to_network(statistics, state, 64)
        np.testing.assert_allclose(normalised, want, atol=1e-5)
    assert len(traces) == 1


def test_vmap_over_statistics_and_chunks():
    """Both the quantiles and the chunks of a longer recording may be mapped over."""
    robots = [Statistics.from_metadata(metadata("yam", seed), "yam") for seed in (0, 1)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *robots)
    actions, state = np.full((2, 24, 32), 0.5, np.float32), random_state("yam", 2)
    over = jax.jit(jax.vmap(actions_to_robot, in_axes=(0, None, None)))
    got = over(stacked, actions, state)
    for index, statistics in enumerate(robots):
        for key, wanted in to_robot(statistics, actions, state).items():
            np.testing.assert_allclose(got[key][index], wanted, atol=1e-5)

    # Two chunks, the second of which begins a little further: (B, chunks, ...).
    recorded = {key: np.stack([x[0], x[0] + 0.1], 1) for key, x in got.items()}
    states = {key: np.stack([x, x + 0.1], 1) for key, x in state.items()}
    single = partial(robot_to_actions, robots[0], action_dim=32)
    mapped = jax.jit(jax.vmap(single, in_axes=1, out_axes=1))(recorded, states)
    assert mapped.shape == (2, 2, 24, 32)
    np.testing.assert_allclose(mapped[..., :14], 0.5, atol=1e-5)


def test_bfloat16_actions_are_mapped_in_float32():
    """The network's dtype costs the robot's units no precision; without jit."""
    actions = jnp.asarray(np.full((1, 1, 3), 0.1), jnp.bfloat16)
    got = actions_to_robot(STATISTICS, actions, {"arm": [[100.0, 0]], "hand": [[0]]})
    assert tuple(got) == SMALL.action_keys
    expected = (float(actions[0, 0, 1]) + 1) / 2 * 0.4 - 0.2 + 100
    np.testing.assert_allclose(got["arm"][0, 0, 0], expected, rtol=2e-7)


FITTING = {
    "state": {"arm": np.zeros((2, 2)), "hand": np.zeros((2, 1))},
    "robot": {"arm": np.zeros((2, 4, 2)), "hand": np.zeros((2, 4, 1))},
    "actions": np.zeros((2, 4, 5)),
}


def trace_all(max_state_dim=4, action_dim=5, **changed):
    """Traces every function; nothing is compiled or run."""
    given = {name: changed.get(name, value) for name, value in FITTING.items()}
    normalise_state(STATISTICS, given["state"], max_state_dim)
    actions_to_robot(STATISTICS, given["actions"], given["state"])
    robot_to_actions(STATISTICS, given["robot"], given["state"], action_dim)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arm", None, "state has the wrong keys: missing 'arm'"),
        ("amr", np.zeros((2, 2)), "unknown key 'amr'. Did you mean 'arm'"),
        ("arm", np.zeros((2, 3)), r"arm must have shape \(B, 2\), got \(2, 3\)"),
        ("arm", np.zeros(2), r"arm must have shape \(B, 2\), got \(2,\)"),
        ("hand", np.zeros((2, 1, 1)), r"hand must have shape \(B, 1\)"),
        ("arm", np.zeros((3, 2)), r"same \(B\), got .*\(3, 2\)"),
        ("hand", np.zeros((2, 1), bool), "hand must hold real numbers, got bool"),
        ("hand", np.zeros((2, 1), complex), "hand must hold real numbers"),
    ],
)
def test_state_that_does_not_fit(key, value, message):
    """Every function refuses a state with other keys, widths or batches."""
    state = FITTING["state"] | {key: value}
    state = {name: array for name, array in state.items() if array is not None}
    for call in (
        lambda: normalise_state(STATISTICS, state, 4),
        lambda: actions_to_robot(STATISTICS, FITTING["actions"], state),
        lambda: robot_to_actions(STATISTICS, FITTING["robot"], state, 5),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"state": np.zeros((2, 3))},
            r"state must be a mapping with the keys \['arm'",
        ),
        ({"max_state_dim": 2}, "max_state_dim is 2; the robot's state has 3"),
        ({"action_dim": 2}, "action_dim is 2; the robot's action has 3"),
        ({"actions": np.zeros((2, 4, 2))}, r"at least 3 for 'small'.*\(2, 4, 2\)"),
        ({"actions": np.zeros((4, 5))}, r"\(B, A, action_dim\)"),
        ({"actions": np.zeros((2, 4, 5), int)}, "floating point.*got int32"),
        ({"actions": np.zeros((3, 4, 5))}, "batch of 3, the state of 2"),
        (
            {"robot": {"arm": np.zeros((2, 4, 2))}},
            "robot_actions has .*missing 'hand'",
        ),
        (
            {"robot": {"arm": np.zeros((2, 4, 2)), "hand": np.zeros((2, 3, 1))}},
            r"same \(B, A\)",
        ),
        (
            {"robot": {"arm": np.zeros((3, 4, 2)), "hand": np.zeros((3, 4, 1))}},
            "robot_actions have a batch of 3, the state of 2",
        ),
        (
            {"robot": {"arm": np.zeros((2, 2)), "hand": np.zeros((2, 4, 1))}},
            r"arm must have shape \(B, A, 2\), got \(2, 2\)",
        ),
    ],
)
def test_input_that_does_not_fit(changed, message):
    """Shapes, widths and batches are refused with what was given and what is needed."""
    jax.eval_shape(trace_all)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(partial(trace_all, **changed))

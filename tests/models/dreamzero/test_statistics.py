"""Robot units and the network's: the statistics' file, quantiles, relative joints."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.dreamzero.embodiments import (
    EMBODIMENTS,
    Embodiment,
    get_embodiment,
)
from jax_stepcache.models.dreamzero.statistics import (
    Quantiles,
    Statistics,
    actions_to_robot,
    load_statistics,
    normalise_state,
    robot_to_actions,
)

WIDTHS = {
    "oxe_droid": {"joint_position": 7, "gripper_position": 1},
    "agibot": {
        "left_arm_joint_position": 7,
        "right_arm_joint_position": 7,
        "left_effector_position": 1,
        "right_effector_position": 1,
        "head_position": 2,
        "waist_position": 2,
        "robot_velocity": 2,
    },
    "yam": {
        "left_joint_pos": 6,
        "left_gripper_pos": 1,
        "right_joint_pos": 6,
        "right_gripper_pos": 1,
    },
}

# One relative key, one absolute; the absolute action comes first.
SMALL = Embodiment("small", 3, ("arm", "hand"), ("hand", "arm"), ("arm",))
SMALL_METADATA = {
    "small": {
        "statistics": {
            "state": {
                "arm": {"q01": [-1.0, 0.0], "q99": [3.0, 2.0]},
                "hand": {"q01": [0.0], "q99": [0.5]},
            },
            "action": {
                "arm": {"q01": [-0.2, -0.4], "q99": [0.2, 0.8]},
                "hand": {"q01": [0.0], "q99": [1.0]},
            },
        }
    }
}


def metadata(name, seed=0):
    """A file as a checkpoint has it, with keys that no embodiment uses."""
    rng = np.random.default_rng(seed)

    def entry(width):
        low = rng.uniform(-2, 1, width)
        values = {"q01": low, "q99": low + rng.uniform(0.1, 2, width)}
        values |= {other: np.zeros(width) for other in ("min", "max", "mean", "std")}
        return {quantile: x.tolist() for quantile, x in values.items()}

    groups = {
        group: {key: entry(width) for key, width in reversed(WIDTHS[name].items())}
        | {"cartesian_position": entry(6)}
        for group in ("state", "action")
    }
    groups["state"].pop("robot_velocity", None)
    return {name: {"statistics": groups, "modalities": {}, "embodiment_tag": name}}


def small(**changed):
    """The small robot's statistics, with entries like action__arm replaced."""
    found = json.loads(json.dumps(SMALL_METADATA))
    for path, entry in changed.items():
        group, key = path.split("__")
        found["small"]["statistics"][group][key] = entry
    return found


STATISTICS = Statistics.from_metadata(SMALL_METADATA, SMALL)

# Compiled once per shape: operation by operation they take longer to compile.
to_network = jax.jit(normalise_state, static_argnums=2)
to_robot = jax.jit(actions_to_robot)
from_robot = jax.jit(robot_to_actions, static_argnums=3)

STATE = {"arm": np.array([[1.0, 0.5]]), "hand": np.array([[0.1]])}


def quantiles(statistics, name, group):
    """The file's q01 and q99 in the order of concatenation, in float64."""
    keys = getattr(EMBODIMENTS[name], f"{group}_keys")
    entries = statistics[name]["statistics"][group]
    return [np.concatenate([entries[k][q] for k in keys]) for q in ("q01", "q99")]


def random_state(name, batch, seed=1):
    rng = np.random.default_rng(seed)
    keys = EMBODIMENTS[name].state_keys
    return {key: rng.uniform(-3, 3, (batch, WIDTHS[name][key])) for key in keys}


def test_embodiments_are_those_of_the_original():
    """Order, numbers and relative keys are those of the original's configurations."""
    droid, agibot, yam = (EMBODIMENTS[name] for name in ("oxe_droid", "agibot", "yam"))
    assert (droid.id, agibot.id, yam.id) == (17, 26, 32)
    assert droid.action_keys == ("joint_position", "gripper_position")
    assert droid.relative_keys == ("joint_position",)
    assert agibot.action_keys == (*agibot.state_keys, "robot_velocity")
    assert agibot.relative_keys == agibot.state_keys == tuple(WIDTHS["agibot"])[:-1]
    assert yam.relative_keys == yam.state_keys == yam.action_keys
    assert yam.state_keys == tuple(WIDTHS["yam"])
    assert get_embodiment("droid") is get_embodiment("oxe_droid") is droid
    assert {hash(robot) for robot in EMBODIMENTS.values()}
    with pytest.raises(TypeError):
        EMBODIMENTS["other"] = droid  # pyright: ignore[reportIndexIssue]
    with pytest.raises(FrozenInstanceError):
        droid.id = 0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", EMBODIMENTS)
@pytest.mark.parametrize("place", ["folder", "file", "text"])
def test_load(tmp_path, name, place):
    """The folder and the file both do; the order is the embodiment's, not its own."""
    file = tmp_path / "experiment_cfg" / "metadata.json"
    file.parent.mkdir()
    file.write_text(json.dumps(metadata(name)))
    path = {"folder": tmp_path, "file": file, "text": str(file)}[place]
    statistics = load_statistics(path, name)
    assert statistics.embodiment is EMBODIMENTS[name]
    for group in ("state", "action"):
        found = getattr(statistics, group)
        for ours, theirs in zip(
            found, quantiles(metadata(name), name, group), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs.astype(np.float32))
            assert ours.dtype == jnp.float32
    assert statistics.action_dims == tuple(WIDTHS[name].values())
    assert statistics.action_width == sum(WIDTHS[name].values())
    state_width = sum(WIDTHS[name][key] for key in EMBODIMENTS[name].state_keys)
    assert statistics.state_width == sum(statistics.state_dims) == state_width


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


@pytest.mark.parametrize("name", ["oxe_driod", "gr1_unified", "", None, ["yam"]])
def test_unknown_embodiment(tmp_path, name):
    """A name that is not known is refused with those that are, before any file."""
    for call in (
        get_embodiment,
        partial(load_statistics, tmp_path / "none"),
        partial(Statistics.from_metadata, {}),
    ):
        with pytest.raises(ValueError, match=r"unknown embodiment.*'agibot', 'droid'"):
            call(name)
    with pytest.raises(ValueError, match="Did you mean 'oxe_droid'"):
        get_embodiment("oxe_driod")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"state_keys": ()}, "state_keys is empty; 'small'"),
        ({"action_keys": ("arm", "arm")}, "action_keys must be a tuple of unique"),
        ({"state_keys": ["arm", "hand"]}, "state_keys must be a tuple"),
        ({"relative_keys": ("leg",)}, "relative key 'leg' must be among both"),
        ({"state_keys": ("hand",)}, "relative key 'arm' must be among both"),
    ],
)
def test_embodiment_that_cannot_be(changed, message):
    """A relative action needs a state of its name; keys are unique."""
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changed)


def test_no_file(tmp_path):
    """A missing file is named in full."""
    with pytest.raises(FileNotFoundError, match=r"experiment_cfg.metadata\.json"):
        load_statistics(tmp_path, "droid")
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        load_statistics(tmp_path / "other.json", "droid")


@pytest.mark.parametrize("text", [b"", b"version https://", b'{"a": ', b"\xff\xfe"])
def test_not_json(tmp_path, text):
    """A file that is no JSON is named, with what is wrong."""
    (tmp_path / "metadata.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"metadata\.json is not JSON"):
        load_statistics(tmp_path / "metadata.json", "droid")


@pytest.mark.parametrize("found", [{"oxe_droid_2": {}, "yam": {}}, [], 3, {}])
def test_no_tag(tmp_path, found):
    """A file without the robot says which ones it has, and the nearest."""
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"no statistics of this robot.*'oxe_dr") as no:
        load_statistics(file, "droid")
    assert str(file) in str(no.value)
    if isinstance(found, dict) and found:
        assert "Did you mean 'oxe_droid_2'?" in str(no.value)
        assert "['oxe_droid_2', 'yam']" in str(no.value)


def test_all_that_is_missing_is_listed():
    """One error names every key and quantile that the file lacks."""
    found = small(state__arm={"q01": [0.0, 0.0]}, action__hand={"mean": [0.0]})
    del found["small"]["statistics"]["state"]["hand"]
    with pytest.raises(ValueError, match="statistics of 'small' do not fit") as error:
        Statistics.from_metadata(found, SMALL, "here")
    for fault in (
        "here",
        "missing state.hand; state has ['arm']",
        "missing state.arm.q99",
        "missing action.hand.q01; missing action.hand.q99",
    ):
        assert fault in str(error.value)
    for entry in ({}, {"statistics": None}, {"statistics": {"state": [], "action": 1}}):
        with pytest.raises(
            ValueError, match=r"missing state\.arm; missing state\.hand"
        ):
            Statistics.from_metadata({"small": entry}, SMALL)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"q01": [0, 0], "q99": [1]}, r"action\.arm has 2 values of q01 and 1 of q99"),
        (
            {"q01": [0, 0, 0], "q99": [1, 1, 1]},
            r"relative and has 3 .*state\.arm has 2",
        ),
        (
            {"q01": [0, 2], "q99": [1, 1]},
            r"action\.arm has q01 > q99 in components \[1\]",
        ),
        (
            {"q01": [0, np.nan], "q99": [1, 1]},
            r"arm\.q01 must be a flat list of finite",
        ),
        ({"q01": [0, 0], "q99": [1, 1e300]}, r"arm\.q99 must be a flat list of finite"),
        ({"q01": [[0, 0]], "q99": [[1, 1]]}, "flat list"),
        ({"q01": [0, [1]], "q99": [1, 1]}, "flat list"),
        ({"q01": [], "q99": []}, "flat list"),
        ({"q01": ["0", "0"], "q99": [1, 1]}, "flat list"),
        ({"q01": None, "q99": 3}, r"q01 must be a flat list.*; .*q99 must be a flat"),
        ([1, 2], r"missing action\.arm\.q01; missing action\.arm\.q99"),
    ],
)
def test_quantiles_that_cannot_be(tmp_path, entry, message):
    """Lengths, order and finiteness are checked when the file is read."""
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(small(action__arm=entry)))
    with pytest.raises(ValueError, match=message):
        load_statistics(file, SMALL)


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

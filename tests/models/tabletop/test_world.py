"""The table, its pictures, the expert and the demonstrations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.tabletop.episodes import CHUNK, FRAMES, demonstrate
from jax_stepcache.models.tabletop.expert import (
    TEMPERATURE,
    choose_target,
    expert_actions,
)
from jax_stepcache.models.tabletop.render import (
    BLOCK_HALF_SIDE,
    FLICKER,
    GRIPPER_COLOUR,
    IMAGE_SIZE,
    PALETTE,
    TABLE_COLOUR,
    render,
)
from jax_stepcache.models.tabletop.world import (
    DEADLINE,
    MAX_STEP,
    TOLERANCE,
    WorldState,
    block_distances,
    observe,
    reached,
    reset,
    step,
)

EPISODES = 512


draw_starts = jax.jit(jax.vmap(reset, in_axes=(0, None)))


@pytest.fixture(scope="module")
def starts() -> WorldState:
    return draw_starts(jax.random.split(jax.random.key(0), EPISODES), 0.0)


def table(gripper, blocks=((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))):
    """A table laid by hand; the instruction names the colour of the first two."""
    return WorldState(
        jnp.asarray(gripper, jnp.float32),
        jnp.asarray(blocks, jnp.float32),
        jnp.asarray([3, 3, 1, 0], jnp.int32),
        jnp.asarray(3, jnp.int32),
    )


def test_starts_leave_two_blocks_almost_equally_far(starts):
    """Both blocks of the named colour are a start's choice, and the rest are not."""
    distances = np.asarray(jax.vmap(block_distances)(starts))
    assert np.abs(distances[:, 0] - distances[:, 1]).max() <= 0.02 + 1e-6
    named = np.asarray(starts.colours) == np.asarray(starts.instruction)[:, None]
    assert (named == [True, True, False, False]).all()
    assert not jax.vmap(reached)(starts).any()


def test_blocks_lie_apart_and_on_the_table(starts):
    """No block overlaps another or hangs over the edge: every one can be seen."""
    blocks = np.asarray(starts.blocks)
    assert blocks.min() >= BLOCK_HALF_SIDE
    assert blocks.max() <= 1 - BLOCK_HALF_SIDE
    gaps = np.abs(blocks[:, :, None] - blocks[:, None]).max(-1)
    assert gaps[:, *np.triu_indices(4, 1)].min() >= 2 * BLOCK_HALF_SIDE


def test_an_instruction_may_name_a_colour_that_one_block_has():
    """Demonstrations include instructions without a choice."""
    states = draw_starts(jax.random.split(jax.random.key(1), EPISODES), 1.0)
    named = np.asarray(states.colours) == np.asarray(states.instruction)[:, None]
    assert (named.sum(axis=1) == 1).all()


@given(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))
def test_no_action_moves_farther_than_the_limit(x, y):
    """A longer action is shortened; a shorter one is carried out as it is."""
    before = table([0.5, 0.5])
    moved = np.asarray(step(before, jnp.array([x, y])).gripper) - 0.5
    wanted = np.array([x, y])
    wanted *= min(1.0, MAX_STEP / max(np.linalg.norm(wanted), 1e-8))
    np.testing.assert_allclose(moved, wanted, atol=1e-6)


def test_the_gripper_stays_on_the_table():
    """The table's edge stops the gripper."""
    after = step(table([0.01, 0.99]), jnp.array([-0.03, 0.03]))
    np.testing.assert_allclose(after.gripper, [0.0, 1.0])


def test_only_the_named_colour_counts():
    """A block of another colour is no success, however near."""
    assert reached(table([0.2, 0.2 + 0.9 * TOLERANCE]))
    assert reached(table([0.8, 0.2]))
    assert not reached(table([0.2, 0.2 + 1.1 * TOLERANCE]))
    assert not reached(table([0.2, 0.8]))
    assert not reached(table([0.8, 0.8]))


def test_the_expert_is_in_time(starts):
    """The deadline leaves slack: the expert, looking once a chunk, meets it."""

    def chunk(state, key):
        actions = expert_actions(state.gripper, choose_target(state, key), CHUNK)

        def act(state, action):
            state = step(state, action)
            return state, reached(state)

        return jax.lax.scan(act, state, actions)

    def episode(state, key):
        _, there = jax.lax.scan(chunk, state, jax.random.split(key, DEADLINE // CHUNK))
        return there.any()

    keys = jax.random.split(jax.random.key(2), EPISODES)
    success = jax.jit(jax.vmap(episode))(starts, keys)
    assert success.mean() >= 0.97


@pytest.mark.parametrize("difference", [0.0, 0.05])
def test_the_expert_chooses_between_equal_blocks(difference):
    """Demonstrations have two modes; a block farther by d gets sigmoid(-d / 0.05)."""
    near = 0.5 - difference / 2
    state = table([near, 0.2], [(0.0, 0.2), (1.0, 0.2), (0.2, 0.8), (0.8, 0.8)])
    keys = jax.random.split(jax.random.key(3), 4096)
    targets = jax.vmap(choose_target, in_axes=(None, 0))(state, keys)
    np.testing.assert_allclose(
        jnp.mean(targets[:, 0] == 0.0),
        jax.nn.sigmoid(difference / TEMPERATURE),
        atol=0.03,
    )
    assert (targets[:, 1] == np.float32(0.2)).all()


def test_the_expert_goes_straight_and_stops():
    """Full steps towards the target, one shorter, and then it stays."""
    actions = expert_actions(jnp.array([0.1, 0.1]), jnp.array([0.2, 0.1]), 5)
    np.testing.assert_allclose(
        actions, [[0.04, 0], [0.04, 0], [0.02, 0], [0, 0], [0, 0]], atol=1e-6
    )
    stays = expert_actions(jnp.array([0.3, 0.3]), jnp.array([0.3, 0.3]), 2)
    np.testing.assert_array_equal(stays, jnp.zeros((2, 2)))


def pixel(image, x, y):
    return np.asarray(image)[int(y * IMAGE_SIZE), int(x * IMAGE_SIZE)]


def test_the_gripper_is_drawn_on_top_of_blocks_on_the_table():
    """Columns follow x, rows y; the gripper hides the block under it."""
    state = table([0.21, 0.21])
    image = render(state.gripper, state.blocks, state.colours, jax.random.key(0))
    np.testing.assert_allclose(pixel(image, 0.21, 0.21), GRIPPER_COLOUR, atol=1e-6)
    np.testing.assert_allclose(pixel(image, 0.8, 0.2), PALETTE[3], atol=1e-6)
    np.testing.assert_allclose(pixel(image, 0.2, 0.8), PALETTE[1], atol=1e-6)
    tint = np.abs(pixel(image, 0.5, 0.5) - np.array(TABLE_COLOUR))
    assert tint.max() <= FLICKER + 1e-6
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert image.dtype == jnp.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_the_table_top_flickers_and_nothing_else_does():
    """Two frames of one state differ in the background only."""
    state = table([0.5, 0.8])
    one, other = (observe(state, jax.random.key(k))["image"] for k in (0, 1))
    assert np.abs(pixel(one, 0.05, 0.5) - pixel(other, 0.05, 0.5)).max() > 1e-3
    for x, y in ((0.5, 0.8), (0.8, 0.2)):
        np.testing.assert_allclose(pixel(one, x, y), pixel(other, x, y), atol=1e-6)


def test_demonstrations_show_what_their_actions_do():
    """The frames of each chunk have the gripper where its actions have taken it, and
    its state is where it begins."""
    blocks = 3
    shown = jax.jit(demonstrate, static_argnums=(1, 2))(jax.random.key(4), 8, blocks)
    assert shown.frames.shape == (8, FRAMES * blocks, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert shown.actions.shape == (8, CHUNK * blocks, 2)
    lengths = jnp.linalg.norm(shown.actions, axis=-1)
    assert lengths.max() <= MAX_STEP + 1e-6
    first = shown.observation["state"][:, None]
    path = jnp.concatenate([first, first + jnp.cumsum(shown.actions, axis=1)], axis=1)
    np.testing.assert_allclose(shown.states, path[:, :-1:CHUNK], atol=1e-6)
    for frame, after in enumerate(range(CHUNK // 2, CHUNK * blocks + 1, CHUNK // 2)):
        for image, (x, y) in zip(shown.frames[:, frame], path[:, after], strict=True):
            seen = pixel(image, min(x, 0.999), min(y, 0.999))
            np.testing.assert_allclose(seen, GRIPPER_COLOUR, atol=0.02)

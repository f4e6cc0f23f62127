"""The simulator, where it is installed and can draw; what is said where it is not."""

import builtins
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jax_stepcache import Params, load_params
from jax_stepcache.models.dreamzero import LatentPipeline, init_weights
from jax_stepcache.models.metaworld import (
    MetaworldModel,
    film,
    metaworld_config,
    policy_of,
    served_rollout,
)
from jax_stepcache.models.metaworld.examples import examples, seen
from jax_stepcache.models.metaworld.expert import demonstrate, expert_of
from jax_stepcache.models.metaworld.rollout import rollout
from jax_stepcache.models.metaworld.tasks import NAMES
from jax_stepcache.models.metaworld.world import World
from jax_stepcache.policy.named import Uncached, step_cache

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))


@pytest.fixture(scope="module")
def simulated():
    """Skips without the simulator or a way to draw."""
    try:
        World("reach").close()
    except (ImportError, OSError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def params():
    return Params(init_weights(MODEL.dit, jax.random.key(0)), MODEL)


def test_without_the_simulator_it_says_what_to_install(monkeypatch):
    """The extra's name, not a bare missing module."""
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name in ("mujoco", "metaworld.env_dict"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="mujoco")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'jax-stepcache\[metaworld\]'"):
        World("reach")


@pytest.mark.slow
def test_without_a_way_to_draw_it_says_what_to_install(simulated):
    """A backend that is not there is told with its name and its remedy, in one error
    of one kind, whichever way it fails."""
    code = (
        "from jax_stepcache.models.metaworld.world import World\n"
        "try:\n    World('reach')\n"
        "except OSError as error:\n    print('remedy:', error)"
    )
    # Of a machine without libraries for drawing: PyOpenGL is told to find none.
    environment = os.environ | {"MUJOCO_GL": "osmesa", "LD_LIBRARY_PATH": ""}
    hidden = "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
    said = subprocess.run(
        [sys.executable, "-c", hidden + code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MUJOCO_GL=osmesa" in said.stdout, said.stderr
    assert "libosmesa6" in said.stdout


def test_an_unknown_task_is_told_before_anything_is_loaded(params):
    """With the nearest name, also where there is no simulator."""
    with pytest.raises(ValueError, match=r"'draw-open'.*'drawer-open'"):
        World("draw-open")
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"'draw-open'.*'drawer-open'"):
        rollout(params, Uncached(), key, episodes=1, tasks=("draw-open",))


def test_a_deadline_is_a_whole_number_of_chunks(params):
    """Half a chunk is not cut off in silence."""
    with pytest.raises(ValueError, match="multiple of 8"):
        rollout(params, Uncached(), jax.random.key(0), episodes=1, deadline=12)


@pytest.mark.slow
@pytest.mark.parametrize("task", NAMES)
def test_the_first_picture_shows_where_things_are(simulated, task):
    """Meta-World moves goal and drawer last in its reset, behind MuJoCo's back: what is
    drawn is what the simulator knows, in a world that was reset before, too."""
    import mujoco

    world = World(task)
    for seed in (3, 4):
        world.reset(seed)
        first = world.picture()
        mujoco.mj_forward(world._env.model, world._env.data)
        np.testing.assert_array_equal(first, world.picture())
    world.close()


@pytest.mark.slow
def test_examples_are_what_the_camera_sees(simulated):
    """Those that come with the library, but for how a machine rounds colours."""
    ours, now = examples(), seen()
    np.testing.assert_array_equal(ours.instruction, now.instruction)
    np.testing.assert_allclose(ours.state, now.state, atol=1e-6)
    off = ours.image.astype(float) - now.image
    assert np.abs(off).mean() < 1.0


@pytest.mark.slow
def test_the_bundled_robot_does_its_tasks(simulated):
    """With the setting that comes for four calls: it opens drawers and presses buttons,
    and foresees what it then sees."""
    bundled = load_params("metaworld")
    tables = bundled.model.bespoke(4).tables
    outcome = rollout(
        bundled,
        Uncached(),
        jax.random.key(3),
        episodes=4,
        tasks=("drawer-open", "button-press-topdown"),
        schedule=tables,
    )
    assert outcome.success.sum() >= 3
    np.testing.assert_array_equal(outcome.model_calls, 4.0)
    before, after = outcome.seen[0][1:], outcome.imagined[0]
    still = np.square(np.diff(outcome.seen[0].astype(float), axis=0)).mean()
    assert np.square(before.astype(float) - after).mean() < still


@pytest.mark.slow
@pytest.mark.parametrize("task", NAMES)
def test_experts_do_their_task_and_a_seed_is_an_episode(simulated, task):
    """The same in a world that has seen others; segments fit together; pictures
    change."""
    used, fresh = World(task), World(task)
    expert = expert_of(task)
    seed = next(s for s in range(5) if demonstrate(used, expert, s))
    for mine, theirs in zip(
        demonstrate(used, expert, seed),
        demonstrate(fresh, expert, seed),
        strict=True,
    ):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
        pictures = len(mine.frames)
        assert len(mine.actions) == 4 * (pictures - 1) == len(mine.states) - 1
        assert abs(mine.actions).max() <= 1
        assert (mine.frames[0] != mine.frames[-1]).any()
    used.close()
    fresh.close()


@pytest.mark.slow
def test_an_episode_is_the_same_beside_any_others(simulated, params):
    """Table, noise and what the camera saw depend on the episode's number alone, and
    each robot's cache decides for itself: one robot after the other gets what robots
    side by side get."""

    def run(robots, policy):
        return rollout(
            params,
            policy,
            jax.random.key(0),
            episodes=3,
            deadline=16,
            robots=robots,
            num_inference_steps=4,
        )

    alone, beside = run(1, step_cache()), run(3, step_cache())
    np.testing.assert_array_equal(alone.model_calls, beside.model_calls)
    assert alone.tasks == beside.tasks == NAMES[:3]
    for i in range(3):
        np.testing.assert_array_equal(alone.seen[i][0], beside.seen[i][0])
        off = alone.seen[i].astype(float) - beside.seen[i].astype(float)
        assert np.abs(off).mean() < 1.0  # of 255: rounding, acted out
    assert film(alone, 0).shape == (5, 64, 128, 3)
    uncached = run(3, Uncached())
    np.testing.assert_array_equal(uncached.model_calls, 4.0)


@pytest.mark.slow
def test_episodes_through_a_server_are_those_played_directly(simulated, params):
    """By the published openpi client, of the same seeds: tables, noise and what the
    cache decides; what was imagined stays with the server."""
    pytest.importorskip("openpi_client.websocket_client_policy")
    toy = pytest.importorskip("tests.serving.robots.toy")
    key, common = jax.random.key(0), {"episodes": 2, "deadline": 16, "robots": 2}
    direct = rollout(params, Uncached(), key, **common)
    with toy.serving(policy_of(LatentPipeline(params)), slots=2) as (_, url):
        served = served_rollout(url, key, **common)
    assert served.tasks == direct.tasks
    np.testing.assert_array_equal(served.model_calls, direct.model_calls)
    np.testing.assert_array_equal(served.success, direct.success)
    for ours, theirs in zip(served.states, direct.states, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)  # metres: rounding
    assert film(served, 0).shape == (5, 64, 64, 3)


def test_a_server_of_another_world_is_told(params):
    """Before anything is simulated: its metadata say whose policy it is."""
    pytest.importorskip("openpi_client.websocket_client_policy")
    toy = pytest.importorskip("tests.serving.robots.toy")
    with (
        toy.serving() as (_, url),
        pytest.raises(ValueError, match="a policy of 'counting'"),
    ):
        served_rollout(url, jax.random.key(0), episodes=1)


def test_no_server_and_no_client_are_told(monkeypatch):
    """What starts one; what to install."""
    pytest.importorskip("openpi_client.websocket_client_policy")
    with pytest.raises(ValueError, match="give ws://host:port"):
        served_rollout("http://127.0.0.1", jax.random.key(0), episodes=1)
    with pytest.raises(ValueError, match=r"server is 'ws://127.0.0.1:abc'"):
        served_rollout("ws://127.0.0.1:abc", jax.random.key(0), episodes=1)
    with pytest.raises(OSError, match="'jax-stepcache serve' starts one"):
        served_rollout("ws://127.0.0.1:9", jax.random.key(0), episodes=1)
    client = "openpi_client.websocket_client_policy"
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(ImportError, match="pip install --no-deps openpi-client"):
        served_rollout("ws://127.0.0.1:9", jax.random.key(0), episodes=1)

"""Meta-World's robot at its table: reset by a seed, moved by actions, looked at.

The simulator comes with ``pip install 'jax-stepcache[metaworld]'``, and pictures need a
way to draw without a screen, ``MUJOCO_GL=egl`` (unless told) or ``osmesa``. Yu and
others 2019, "Meta-World: A benchmark and evaluation for multi-task and meta
reinforcement learning".
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from .sizes import IMAGE_SIZE, STATE_SIZE
from .tasks import task_named

_MISSING = "the robots of Meta-World need its simulator: pip install " + (
    "'jax-stepcache[metaworld]'"
)
_NO_PICTURES = (
    "MuJoCo cannot draw with MUJOCO_GL={backend}: {error!r}. Without a screen, install "
    "libegl1 and libgl1-mesa-dri and set MUJOCO_GL=egl, or libosmesa6 and set "
    "MUJOCO_GL=osmesa, before anything imports MuJoCo"
)

# Rendered at twice the size and averaged, which takes as long as the size itself: the
# time goes into the robot's 67,000 triangles, and, before they were switched off, into
# shadows (of 160 ms a picture on a slow core 140, and 10 into multisampling).
_FINER = 2
_SWITCHED_OFF = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG")

# A camera that has the table and the hand in view, and the drawer's handle too.
_LOOKS_AT = (0.03, 0.68, 0.1)  # metres
_DISTANCE, _AZIMUTH, _ELEVATION = 1.0, -145.0, -45.0
# Radius in metres of the ball that marks a goal, drawn larger than Meta-World's 0.02,
# which is two pixels here.
_GOAL_RADIUS = 0.035


class Moment(NamedTuple):
    """What is known of a robot at one moment.

    Attributes:
        state: float32 (4,), the hand's x, y and z in metres, and how far the gripper
            is open, in [0, 1]: what the robot feels.
        full: float64 (39,), Meta-World's observation with the places of objects and
            goal, which the experts see and no policy here does.
        success: whether the task is done.
    """

    state: np.ndarray
    full: np.ndarray
    success: bool


class World:
    """One robot with one task. Stateful, as its simulator is.

    Attributes:
        task: the task's name.
    """

    def __init__(self, task: str) -> None:
        """Loads the robot and its table.

        Args:
            task: one of `tasks.NAMES`.

        Raises:
            ValueError: for an unknown task.
            ImportError: without the simulator.
            OSError: where it cannot draw; with what to install.
        """
        self.task = task
        told = task_named(task)
        self._mujoco, environments = _simulator()
        self._env = environments[told.environment]()
        # The places of object and goal are drawn anew at each reset, from its seed.
        self._env._partially_observable = False
        # What observations are clipped to, kept from when the goal was hidden.
        del self._env.sawyer_observation_space
        self._env._freeze_rand_vec = False
        self._env._set_task_called = True
        self._env.seeded_rand_vec = True
        if told.marked:
            self._env.model.site("goal").size[0] = _GOAL_RADIUS
        self._eye = self._opened()
        self._camera = self._mujoco.MjvCamera()
        self._camera.lookat[:] = _LOOKS_AT
        self._camera.distance = _DISTANCE
        self._camera.azimuth, self._camera.elevation = _AZIMUTH, _ELEVATION

    def reset(self, seed: int) -> Moment:
        """Lays the table.

        Args:
            seed: draws the places of object and goal; the same one, the same episode.

        Returns:
            The first moment.
        """
        self._env.seed(int(seed))
        full, _ = self._env.reset()
        # Meta-World moves goal and drawer last, after what pictures are drawn from.
        self._mujoco.mj_forward(self._env.model, self._env.data)
        return self._moment(full, False)

    def step(self, action: np.ndarray) -> Moment:
        """Moves the hand.

        Args:
            action: (4,), a centimetre each in x, y and z, and the gripper's effort;
                clipped to [-1, 1].

        Returns:
            The moment after.
        """
        wanted = np.clip(np.asarray(action, np.float32), -1, 1)
        # Meta-World lets no episode go beyond its own limit, which is not ours.
        self._env.curr_path_length = 0
        full, _, _, _, info = self._env.step(wanted)
        return self._moment(full, bool(info["success"]))

    def picture(self) -> np.ndarray:
        """What the camera sees, uint8 (64, 64, 3)."""
        self._eye.update_scene(self._env.data, camera=self._camera)
        fine = self._eye.render().reshape(IMAGE_SIZE, _FINER, IMAGE_SIZE, _FINER, 3)
        return np.round(fine.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)

    def close(self) -> None:
        """Lets go of the drawing context."""
        self._eye.close()

    def _moment(self, full: np.ndarray, success: bool) -> Moment:
        return Moment(full[:STATE_SIZE].astype(np.float32), full, success)

    def _opened(self) -> Any:
        side = IMAGE_SIZE * _FINER
        self._env.model.vis.quality.offsamples = 0
        try:
            eye = self._mujoco.Renderer(self._env.model, side, side)
        except Exception as error:  # each backend has errors of its own
            raise OSError(_no_pictures(error)) from error
        for name in _SWITCHED_OFF:
            eye.scene.flags[getattr(self._mujoco.mjtRndFlag, f"mjRND_{name}")] = 0
        return eye


def _simulator() -> tuple[Any, Any]:
    """MuJoCo, and Meta-World's environments by name."""
    # MuJoCo reads it once, where it is imported; its own default needs a screen.
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # pyright: ignore[reportMissingImports]
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        if error.name in ("mujoco", "metaworld"):
            raise ImportError(_MISSING) from error
        raise OSError(_no_pictures(error)) from error
    # PyOpenGL's, where the library is not there; MuJoCo's, for a name it does not know.
    except (AttributeError, RuntimeError) as error:
        raise OSError(_no_pictures(error)) from error
    return mujoco, ALL_V3_ENVIRONMENTS


def _no_pictures(error: Exception) -> str:
    return _NO_PICTURES.format(backend=os.environ.get("MUJOCO_GL", ""), error=error)

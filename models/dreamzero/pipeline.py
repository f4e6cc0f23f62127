"""DreamZero in a control loop: one call is one control step."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig
from jax_stepcache.check import check_arrays
from jax_stepcache.errors import naming
from jax_stepcache.loop.generation import draw_noise
from jax_stepcache.loop.result import SampleResult, Stats
from jax_stepcache.network.params import Params
from jax_stepcache.pipeline import CachedSampler
from jax_stepcache.requests.many import Checked, check_many, run_many
from jax_stepcache.requests.request import as_request
from jax_stepcache.sampling import check_sampling

from . import session as sessions
from .denoiser import DreamZeroCondition
from .model import DreamZeroModel
from .observation import Observation, begins_window, complete
from .session import Observed, Session
from .session_file import load_session, save_session
from .session_placement import mesh_of, placed, session_shardings
from .statistics import Statistics, actions_to_robot, normalise_state


class ControlStep(NamedTuple):
    """What a control step returns; a pytree.

    Attributes:
        session: the sessions after it, for the next call.
        video: (B, C, frames of a block, H, W) float32, the imagined latents.
        action: (B, actions, action_dim) float32, normalised.
        robot_action: the actions by name in the robot's units, (B, actions, n) each;
            None without statistics.
        begins: bool[B], which robots began a window with this step.
        first: (B, C, 1, H, W) the first frame of those windows.
        stats: which steps ran the network.
    """

    session: Session
    video: jax.Array
    action: jax.Array
    robot_action: dict[str, jax.Array] | None
    begins: jax.Array
    first: jax.Array
    stats: Stats

    def frames(self, robot: int = 0) -> jax.Array:
        """A robot's video as the original returns it: (C, frames, H, W).

        Where a window begins, its first frame stands before the imagined ones.
        """
        video = self.video[robot]
        if not self.begins[robot]:
            return video
        return jnp.concatenate([self.first[robot], video], axis=1)


class _Shown(NamedTuple):
    """What a control step is shown, checked.

    Attributes:
        observation: complete, with a normalised state.
        raw: the state as it was given.
    """

    observation: Observation
    raw: Any


class DreamZeroPipeline(CachedSampler):
    """Steps robots through windows of frames, with any cache.

    ``pipeline.start(text, negative_text)`` begins a session, and
    ``pipeline(session, observation)`` takes a control step: it begins a window where
    one is full, reads what has been observed into the KV caches, imagines the next
    frames and actions together, and moves the window on. A batch of sessions may stand
    at different positions; each gets what it would get alone, as long as the cache's
    decisions are the same (a dynamic cache decides by the mean over the batch, unless
    ``decide="sample"`` lets each robot decide). `step_many` takes separate sessions.

    Attributes:
        params: the weights.
        model: the model they belong to.
        sampler: `jax_stepcache.sample`, or that with a cache filled in by a backend.
        cache_backend: the backend made at construction, or None.
        guidance_scale: classifier-free guidance of the video; 1 runs the conditional
            branch alone.
        statistics: turns robot units into the model's and back, or None.
    """

    def __init__(
        self,
        params: Params,
        *,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        statistics: Statistics | None = None,
        attention: str | None = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: a DreamZero of any size, from `jax_stepcache.load_params`.
            cache_backend: see `jax_stepcache.Pipeline`.
            cache_config: likewise.
            guidance_scale: None for the model's default.
            statistics: from `load_statistics`; with it, ``state`` is a mapping in the
                robot's units, and steps have a ``robot_action``.
            attention: ``"xla"``, or ``"cudnn"`` for the fused kernel of GPUs, which
                needs 16-bit activations; None for the model's own.

        Raises:
            TypeError: if the params are not a DreamZero's, or the statistics none.
            ValueError: for unknown names or settings that do not fit.
        """
        model = params.model if isinstance(params, Params) else None
        if not isinstance(model, DreamZeroModel):
            raise TypeError(
                "DreamZeroPipeline needs the params of a DreamZero, from load_params; "
                f"got {params!r:.100}"
            )
        if attention is not None:
            model = replace(model, dit=replace(model.dit, attention=attention))
            params = Params(params.weights, model)
        super().__init__(params, cache_backend=cache_backend, cache_config=cache_config)
        self.model: DreamZeroModel = model
        if guidance_scale is None:
            guidance_scale = model.defaults.guidance_scale
        self.guidance_scale = float(guidance_scale)
        if not np.isfinite(self.guidance_scale):
            raise ValueError(f"guidance_scale is {guidance_scale}; it must be finite")
        if statistics is not None:
            _check_statistics(statistics, model)
        self.statistics = statistics

    @property
    def guided(self) -> bool:
        """Whether both branches run."""
        return self.guidance_scale != 1.0

    def start(self, text: jax.Array, negative_text: jax.Array | None = None) -> Session:
        """Begins sessions.

        Args:
            text: (B, text_len, text_dim) encoded prompts, zero past their length.
            negative_text: like ``text``, the negative prompt's; given exactly where
                the guidance scale is not 1.

        Returns:
            The sessions, for the first control step.

        Raises:
            ValueError: for shapes that do not fit.
        """
        self._check_text(text, negative_text, np.shape(text)[0] if np.ndim(text) else 0)
        return _start(self.model, self._mesh, self.params.weights, text, negative_text)

    def prompt(
        self,
        session: Session,
        text: jax.Array,
        negative_text: jax.Array | None = None,
    ) -> Session:
        """Gives sessions new prompts; a robot whose prompt differs begins a window.

        Args:
            session: the sessions; not to be used any more.
            text: see `start`.
            negative_text: see `start`.

        Returns:
            The sessions; as they were, where the prompt is what it was.

        Raises:
            ValueError: for shapes that do not fit the sessions; these are unchanged.
        """
        self._check_session(session)
        self._check_text(text, negative_text, session.batch)
        return _prompt(
            self.model, self._mesh, self.params.weights, session, text, negative_text
        )

    def begins(self, session: Session) -> np.ndarray:
        """Which robots begin a window at their next step, bool[B].

        They are to be shown ``first`` or ``image`` and ``y``, the others ``latents``.
        """
        self._check_session(session)
        return np.asarray(begins_window(self.model.dit, np.asarray(session.position)))

    def __call__(
        self,
        session: Session,
        observation: Mapping[str, Any],
        *,
        noise: Mapping[str, jax.Array] | None = None,
        key: jax.Array | None = None,
        donate: bool = True,
        **options: Any,
    ) -> ControlStep:
        """Takes a control step.

        Args:
            session: where the robots stand.
            observation: what they see, see `Observation`: ``state`` (a mapping in the
                robot's units, where the pipeline has statistics), ``latents``, and for
                those that begin a window ``image`` and ``y``, or ``first``.
            noise: ``video`` and ``action`` at the first sigma, float32[B, ...].
            key: draws the noise where none is given: the same for every robot. None
                for ``jax.random.key(0)``, the same at every step, as in the original.
            donate: whether the step may write into the session's buffers; it cannot be
                used again then. False keeps it, at the cost of a second KV cache.
            **options: of `jax_stepcache.sample`: ``num_inference_steps``, ``shift``,
                ``solver``, ``final_noise={"video": 0.8}``, ``progress``, ...

        Returns:
            The step.

        Raises:
            ValueError: for what does not fit. The session is unchanged then.
            TypeError: for arguments of the wrong kind; likewise.
        """
        # Whatever is wrong is told before the session is taken over.
        shown = self._checked(session, observation, noise)
        options = self._checked_options(options, session.batch)
        observed, drawn = self._observe(session, shown, noise, key, donate)
        result = self.sampler(
            self.params, condition=observed.condition, noise=drawn, **options
        )
        return self._control_step(observed, shown, result)

    def step_many(
        self,
        sessions: Sequence[Session],
        observations: Sequence[Mapping[str, Any]],
        *,
        noises: Sequence[Mapping[str, jax.Array] | None] | None = None,
        keys: Sequence[jax.Array | None] | None = None,
        each: Sequence[Mapping[str, Any]] | None = None,
        slots: int = 8,
        donate: bool = True,
        **options: Any,
    ) -> list[ControlStep]:
        """Takes a control step with many robots, each as if it were alone.

        Each has its own KV cache and stands anywhere in its window; each one's cache
        decides for itself. See `jax_stepcache.sample_many`: ``slots`` robots are
        denoised side by side, and whoever is done makes room for the next. For robots
        that always step together, one session of them all (`stack_sessions`) and
        ``pipeline(session, observation, decide="sample")`` saves the copies of their KV
        caches: here the requests hold one, and the slots another.

        Args:
            sessions: one of each robot.
            observations: what each sees; see `__call__`.
            noises: each one's noise, or None.
            keys: each one's key, or None.
            each: each one's own options, fields of `jax_stepcache.Request` such as
                ``num_inference_steps``; or ``cache_config``, with a ``cache=`` given
                here by name, for the pipeline's backend has its own settings.
            slots: robots side by side.
            donate: see `__call__`.
            **options: options that all share; see `__call__`.

        Returns:
            The steps, in the order of the sessions.

        Raises:
            ValueError: for what does not fit, with the robot's index. All sessions are
                unchanged then.
            TypeError: for arguments of the wrong kind; likewise.
        """
        if isinstance(sessions, Session):
            raise TypeError("sessions is one session; give a list of them")
        if isinstance(each, Mapping):
            raise TypeError("each is one mapping; give a list, one for each robot")
        robots = len(sessions)
        own = {"observations": observations, "noises": noises, "keys": keys}
        for name, given in (own | {"each": each}).items():
            if given is not None and len(given) != robots:
                raise ValueError(f"{name} has {len(given)} entries for {robots} robots")
        noises = [None] * robots if noises is None else noises
        keys = [None] * robots if keys is None else keys
        each = [{}] * robots if each is None else each
        if not robots:
            return []
        shown = []
        for i, session in enumerate(sessions):
            with naming("sessions", i):
                shown.append(self._checked(session, observations[i], noises[i]))
                if session.batch != 1:
                    raise ValueError(
                        f"it holds {session.batch} robots; take it apart with "
                        "split_sessions"
                    )
                if donate and any(session.cache.k is x.cache.k for x in sessions[:i]):
                    raise ValueError(
                        "it was given before; step it once, or give donate=False"
                    )
                as_request(each[i])
                self._checked_options({**options, **each[i]}, 1)
        shared = {**getattr(self.sampler, "keywords", {}), **options}
        shared["guidance_scale"] = self.guidance_scale

        def checked(conditions: Iterable[Any], drawn: Iterable[Any]) -> Checked:
            given = [
                {**own, "condition": condition, "noise": noise}
                for own, condition, noise in zip(each, conditions, drawn, strict=True)
            ]
            return check_many(
                self.params, given, slots=slots, what="sessions", **shared
            )

        # All that could be wrong is told before any session is taken over.
        checked(
            map(self._condition_struct, sessions),
            [self.model.noise_struct(1)] * robots,
        )
        observed = [
            self._observe(session, shown[i], noises[i], keys[i], donate)
            for i, session in enumerate(sessions)
        ]
        conditions = [one.condition for one, _ in observed]
        # As many places as robots: each holds a KV cache.
        results = run_many(
            checked(conditions, [noise for _, noise in observed]), places=robots
        )
        return [
            self._control_step(one, seen, result)
            for (one, _), seen, result in zip(observed, shown, results, strict=True)
        ]

    def save_session(self, path: str | os.PathLike[str], session: Session) -> None:
        """Writes a session to a file, under a temporary name first."""
        self._check_session(session)
        save_session(path, session)

    def load_session(self, path: str | os.PathLike[str]) -> Session:
        """Reads a session that `save_session` has written, bit for bit.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is cut short, or of another model or guidance.
        """
        session = load_session(path, self.model.size, self.guided)
        if self._mesh is None:
            return session
        return jax.device_put(session, session_shardings(session, self._mesh))

    @property
    def _mesh(self) -> Mesh | None:
        return mesh_of(self.params.weights)

    def _checked(
        self,
        session: Session,
        observation: Mapping[str, Any],
        noise: Mapping[str, jax.Array] | None,
    ) -> _Shown:
        """Checks what a control step is given, and completes the observation."""
        self._check_session(session)
        given, raw = self._in_model_units(observation, session.batch)
        whole = complete(self.model.size, session.position, given)
        if noise is not None:
            if not isinstance(noise, Mapping):
                raise TypeError(
                    f"noise is a {type(noise).__name__}; give a mapping with "
                    "'video' and 'action'"
                )
            wanted = self.model.noise_struct(session.batch)
            check_arrays(dict(noise), wanted, "noise")
        return _Shown(whole, raw)

    def _checked_options(self, options: dict[str, Any], batch: int) -> dict[str, Any]:
        """Checks options of `sample`, and adds the pipeline's own."""
        if "guidance_scale" in options:
            raise TypeError(
                "the guidance scale is the pipeline's, for sessions have rows for it; "
                "give guidance_scale= where the pipeline is made"
            )
        for name in ("condition", "negative_condition", "observation", "model"):
            if name in options:
                raise TypeError(f"{name}= is no option here: the session is it")
        for name in ("noise", "key"):
            if name in options:
                raise TypeError(f"{name}= is each robot's own: give {name}s=[...]")
        options = {**options, "guidance_scale": self.guidance_scale}
        check_sampling(
            self.params,
            condition=(),
            noise=self.model.noise_struct(batch),
            **{**getattr(self.sampler, "keywords", {}), **options},
        )
        return options

    def _condition_struct(self, session: Session) -> Any:
        """Shapes of what a robot will be denoised under; nothing is traced for it."""
        c, rows = self.model.dit, session.text.shape[0]
        struct: Any = jax.ShapeDtypeStruct
        state = (rows, c.num_state_per_block, c.max_state_dim)
        y = (rows, c.y_dim, c.num_frame_per_block, *self.model.latent_size)
        return DreamZeroCondition(
            session.context,
            session.cache,
            struct(state, jnp.float32),
            None if session.y is None else struct(y, jnp.float32),
        )

    def _observe(
        self,
        session: Session,
        shown: _Shown,
        noise: Mapping[str, jax.Array] | None,
        key: jax.Array | None,
        donate: bool,
    ) -> tuple[Observed, dict[str, jax.Array]]:
        """Reads the observation into the cache; and the noise, given or drawn."""
        run = _observe_in_place if donate else _observe
        observed, drawn = run(
            self.model,
            self._mesh,
            self.params.weights,
            session,
            shown.observation,
            jax.random.key(0) if key is None else key,
        )
        return observed, drawn if noise is None else dict(noise)

    def _control_step(
        self, observed: Observed, shown: _Shown, result: SampleResult
    ) -> ControlStep:
        action = result.sample["action"]
        return ControlStep(
            observed.session,
            result.sample["video"],
            action,
            None
            if self.statistics is None
            else _to_robot(self.statistics, action, shown.raw),
            observed.begins,
            observed.first,
            result.stats,
        )

    def _in_model_units(
        self, observation: Mapping[str, Any], batch: int
    ) -> tuple[Mapping[str, Any], Any]:
        """The observation with a normalised state, and the state as it was given."""
        if not isinstance(observation, Mapping):
            return observation, None
        state = observation.get("state")
        if self.statistics is None:
            if isinstance(state, Mapping):
                raise ValueError(
                    "observation['state'] is a mapping in a robot's units; that needs "
                    "a pipeline with statistics="
                )
            return observation, None
        if not isinstance(state, Mapping):
            names = list(self.statistics.embodiment.state_keys)
            raise ValueError(
                f"with statistics, observation['state'] is a mapping with {names}; got "
                f"{type(state).__name__}"
            )
        normalised = normalise_state(
            self.statistics, state, self.model.dit.max_state_dim
        )
        if normalised.shape[0] != batch:
            raise ValueError(
                f"observation['state'] has {normalised.shape[0]} robots and the "
                f"session {batch}"
            )
        return {**observation, "state": normalised}, state

    def _check_session(self, session: Session) -> None:
        if not isinstance(session, Session):
            raise TypeError(
                f"session is a {type(session).__name__}; begin one with "
                "pipeline.start(text, negative_text)"
            )
        if session.guided != self.guided:
            raise ValueError(
                f"the session has {'two branches' if session.guided else 'one branch'} "
                f"and the guidance scale is {self.guidance_scale:g}; begin one with "
                "this pipeline"
            )
        wanted = sessions.session_struct(self.model.size, session.batch, self.guided)
        for (path, given), like in zip(
            jax.tree_util.tree_leaves_with_path(session),
            jax.tree.leaves(wanted),
            strict=False,
        ):
            if given.shape != like.shape or given.dtype != like.dtype:
                name = jax.tree_util.keystr(path)
                raise ValueError(
                    f"session{name} is {given.dtype}{list(given.shape)}; this model's "
                    f"is {like.dtype}{list(like.shape)}"
                )
            traced = isinstance(given, Tracer)
            if isinstance(given, jax.Array) and not traced and given.is_deleted():
                raise ValueError(
                    "this session has been stepped on and its buffers reused; go on "
                    "with the step's session, or step with donate=False"
                )

    def _check_text(self, text: Any, negative: Any, batch: int) -> None:
        c = self.model.dit
        struct = jax.ShapeDtypeStruct((batch, c.text_len, c.text_dim), jnp.float32)
        if batch < 1:
            raise ValueError(
                f"text has shape {np.shape(text)}; the model takes "
                f"(robots, {c.text_len}, {c.text_dim})"
            )
        check_arrays(text, struct, "text")
        if self.guided:
            if negative is None:
                raise ValueError(
                    f"a guidance scale of {self.guidance_scale:g} needs negative_text, "
                    "the encoded negative prompt"
                )
            check_arrays(negative, struct, "negative_text")
        elif negative is not None:
            raise ValueError("negative_text is not used at a guidance scale of 1")


def _check_statistics(statistics: Statistics, model: DreamZeroModel) -> None:
    """Checks that a robot's numbers fit into the model's."""
    if not isinstance(statistics, Statistics):
        raise TypeError(
            f"statistics is a {type(statistics).__name__}; give what load_statistics "
            "returned"
        )
    for name, width, room in (
        ("actions", statistics.action_width, model.dit.action_dim),
        ("states", statistics.state_width, model.dit.max_state_dim),
    ):
        if width > room:
            raise ValueError(
                f"{statistics.embodiment.name} has {name} of {width} components; the "
                f"model has {room}"
            )


_to_robot = jax.jit(actions_to_robot)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(
    model: DreamZeroModel,
    mesh: Mesh | None,
    weights: Any,
    text: jax.Array,
    negative: jax.Array | None,
) -> Session:
    return placed(sessions.start(model.size, weights, text, negative), mesh)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _prompt(
    model: DreamZeroModel,
    mesh: Mesh | None,
    weights: Any,
    session: Session,
    text: jax.Array,
    negative: jax.Array | None,
) -> Session:
    return placed(sessions.prompt(model.size, weights, session, text, negative), mesh)


def _observe_and_draw(
    model: DreamZeroModel,
    mesh: Mesh | None,
    weights: Any,
    session: Session,
    observation: Observation,
    key: jax.Array,
) -> tuple[Observed, dict[str, jax.Array]]:
    """Reads the observation into the cache, and draws each robot the same noise."""
    one = draw_noise(key, model.noise_struct(1))
    noise = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (session.batch, *x.shape[1:])), one
    )
    observed = sessions.observe(model.size, weights, session, observation)
    return observed._replace(session=placed(observed.session, mesh)), noise


_observe = jax.jit(_observe_and_draw, static_argnums=(0, 1))
_observe_in_place = jax.jit(_observe_and_draw, static_argnums=(0, 1), donate_argnums=3)

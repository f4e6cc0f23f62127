"""DreamZero in a control loop: one call is one control step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig
from jax_stepcache.check import check_numbers
from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.errors import naming, naming_arguments
from jax_stepcache.kept import kept
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.inputs import default_key
from jax_stepcache.network.params import Params
from jax_stepcache.pipeline import CachedSampler
from jax_stepcache.requests.many import Checked, check_many, run_many
from jax_stepcache.requests.request import as_request

from ..model import DreamZeroModel
from ..robot.statistics import Statistics
from ..session.file import load_session, save_session
from ..session.observation import begins_window
from ..session.placement import mesh_of, put
from ..session.session import Observed, Session
from . import programs
from .checks import (
    Shown,
    check_apart,
    check_lists,
    check_session,
    check_statistics,
    check_text,
    checked,
    checked_options,
    is_guided,
)
from .placing import beside, check_batch, placed_params
from .step import ControlStep


class LatentPipeline(CachedSampler):
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

    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def __init__(
        self,
        params: Params,
        *,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        statistics: Statistics | None = None,
        attention: str | None = None,
        mesh: Mesh | None = None,
        rules: Any = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: a DreamZero of any size, from `jax_stepcache.load_params`.
            cache_backend: see `jax_stepcache.Pipeline`.
            cache_config: likewise.
            guidance_scale: None for the model's default.
            statistics: from `load_statistics`; with it, ``state`` is a mapping in the
                robot's units, and steps have a ``robot_action``.
            mesh: where the weights go, with ``rules``; see `jax_stepcache.load_params`.
            rules: likewise.
            attention: ``"xla"``, or ``"cudnn"`` for the fused kernel of GPUs, which
                needs 16-bit activations; None for the model's own, which picks.

        Raises:
            TypeError: if the params are not a DreamZero's, or the statistics none.
            ValueError: for unknown names or settings that do not fit.
        """
        params, model = placed_params(params, attention, mesh, rules)
        super().__init__(params, cache_backend=cache_backend, cache_config=cache_config)
        self.model: DreamZeroModel = model
        # Found once: that takes a look at every weight.
        self._mesh: Mesh | Layout | None = model.layout or mesh_of(params.weights)
        if guidance_scale is None:
            guidance_scale = model.defaults.guidance_scale
        check_numbers("guidance_scale", guidance_scale)
        self.guidance_scale = float(guidance_scale)
        if statistics is not None:
            check_statistics(statistics, model)
        self.statistics = statistics

    @property
    def guided(self) -> bool:
        """Whether both branches run."""
        return is_guided(self.guidance_scale)

    @in_automatic_context
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
        given = kept((text, negative_text))
        text, negative_text = beside(self.params, "text negative_text", *given)
        self._check_text(text, negative_text, np.shape(text)[0] if np.ndim(text) else 0)
        text, negative_text = sent((text, negative_text), self.params.weights)
        return programs.start(
            self.model, self._mesh, self.params.weights, text, negative_text
        )

    @in_automatic_context
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
        given = kept((session, text, negative_text))
        session, text, negative_text = beside(
            self.params, "session text negative_text", *given
        )
        self._check_text(text, negative_text, session.batch)
        text, negative_text = sent((text, negative_text), self.params.weights)
        return programs.prompt(
            self.model, self._mesh, self.params.weights, session, text, negative_text
        )

    def begins(self, session: Session) -> np.ndarray:
        """Which robots begin a window at their next step, bool[B].

        They are to be shown ``first`` or ``image`` and ``y``, the others ``latents``.
        """
        self._check_session(session)
        return np.asarray(
            begins_window(self.model.dit, jax.device_get(session.position))
        )

    @in_automatic_context
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
            key: draws the noise that is not given, the same for every robot. None for
                ``jax.random.key(0)``, the same at every step, as in the original.
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
        names, given = "session observation noise key", (session, observation)
        session, observation, noise, key = beside(
            self.params, names, *given, noise, key
        )
        shown = self._checked(session, observation, noise)
        options = self._checked_options(options, session.batch, key)
        check_batch(self.model, session.batch)
        observed, drawn = self._observe(session, shown, noise, key, donate)
        result = self.sampler(
            self.params, condition=observed.condition, noise=drawn, **options
        )
        return self._control_step(observed, shown, result)

    @in_automatic_context
    def step_many(
        self,
        sessions: Sequence[Session],
        observations: Sequence[Mapping[str, Any]],
        *,
        noises: Sequence[Mapping[str, jax.Array] | None] | None = None,
        keys: Sequence[jax.Array | None] | None = None,
        each: Sequence[Mapping[str, Any]] | None = None,
        slots: int = 8,
        max_inference_steps: int | None = None,
        donate: bool = True,
        **options: Any,
    ) -> list[ControlStep]:
        """Takes a control step with many robots, each as if it were alone.

        Each has its own KV cache and stands anywhere in its window; each one's cache
        decides for itself. See `jax_stepcache.sample_many`: ``slots`` robots are
        denoised side by side, and whoever is done makes room for the next. As many
        robots as slots have their KV caches laid side by side, one copy; with more,
        the requests hold one and the slots another. For robots that always step
        together, one session of them all (`stack_sessions`) and
        ``pipeline(session, observation, decide="sample")`` copies nothing.

        Args:
            sessions: one of each robot.
            observations: what each sees; see `__call__`.
            noises: each one's noise, or None.
            keys: each one's key, or None.
            each: each one's own options, fields of `jax_stepcache.Request` such as
                ``num_inference_steps``; or ``cache_config``, with a ``cache=`` given
                here by name, for the pipeline's backend has its own settings.
            slots: robots side by side.
            max_inference_steps: see `jax_stepcache.sample_many`.
            donate: see `__call__`.
            **options: options that all share; see `__call__`.

        Returns:
            The steps, in the order of the sessions.

        Raises:
            ValueError: for what does not fit, with the robot's index. All sessions are
                unchanged then.
            TypeError: for arguments of the wrong kind; likewise.
        """
        robots = check_lists(
            sessions, observations=observations, noises=noises, keys=keys, each=each
        )
        given = list(sessions), list(observations), noises, keys
        names = "sessions observations noises keys"
        sessions, observations, noises, keys = beside(self.params, names, *given)
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
                if donate:
                    check_apart(session, sessions[:i])
                as_request(each[i])
                self._checked_options({**options, **each[i]}, 1)
        shared = {**self._preset, "guidance_scale": self.guidance_scale, **options}
        shared |= {"slots": slots, "max_inference_steps": max_inference_steps}

        def requests(conditions: Iterable[Any], drawn: Iterable[Any]) -> Checked:
            rows = zip(each, conditions, drawn, keys, strict=True)
            given = [
                {**own, "condition": condition, "noise": noise, "key": key}
                for own, condition, noise, key in rows
            ]
            return check_many(self.params, given, what="sessions", **shared)

        # All that could be wrong is told before any session is taken over.
        requests(
            [programs.condition_struct(self.model, one) for one in sessions],
            [self.model.noise_struct(1)] * robots,
        )
        observed = [
            self._observe(session, shown[i], noises[i], keys[i], donate)
            for i, session in enumerate(sessions)
        ]
        conditions = [one.condition for one, _ in observed]
        # As many places as robots: each holds a KV cache.
        results = run_many(
            requests(conditions, [noise for _, noise in observed]), places=robots
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
        apart = are_apart(self.params.weights)
        session = load_session(path, self.model.size, self.guided, apart)
        return put(session, self._mesh)

    @property
    def _preset(self) -> Mapping[str, Any]:
        """Options of `sample` that a backend has filled in."""
        return getattr(self.sampler, "keywords", {})

    def _check_session(self, session: Session) -> None:
        check_session(self.model, self.guidance_scale, session)

    def _check_text(self, text: Any, negative: Any, batch: int) -> None:
        check_text(self.model, self.guidance_scale, text, negative, batch)

    def _checked(
        self,
        session: Session,
        observation: Mapping[str, Any],
        noise: Mapping[str, jax.Array] | None,
    ) -> Shown:
        settings = self.model, self.guidance_scale, self.statistics
        return checked(*settings, session, observation, noise)

    def _checked_options(
        self, options: Mapping[str, Any], batch: int, key: jax.Array | None = None
    ) -> dict[str, Any]:
        settings = self.params, self._preset, self.guidance_scale
        return checked_options(*settings, options, batch, key)

    def _observe(
        self,
        session: Session,
        shown: Shown,
        noise: Mapping[str, jax.Array] | None,
        key: jax.Array | None,
        donate: bool,
    ) -> tuple[Observed, dict[str, jax.Array]]:
        """Reads the observation into the cache; and the noise, given or drawn."""
        run = programs.observe_in_place if donate else programs.observe
        observed, drawn = run(
            self.model,
            self._mesh,
            self.params.weights,
            kept(session),
            shown.observation,
            default_key() if key is None else kept(key),
        )
        return observed, drawn if noise is None else dict(noise)

    def _control_step(
        self, observed: Observed, shown: Shown, result: SampleResult
    ) -> ControlStep:
        video, action = result.sample["video"], result.sample["action"]
        in_units = None
        if self.statistics is not None:
            in_units = programs.to_robot(*sent((self.statistics, action, shown.raw)))
        step = observed.session, video, action, in_units
        return ControlStep(*step, observed.begins, observed.first, result.stats)

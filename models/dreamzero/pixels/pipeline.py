"""DreamZero whole: pictures and words in, actions and film out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast, overload

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig
from jax_stepcache.check import check_arrays
from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.errors import naming, naming_arguments
from jax_stepcache.meshes.beside import check_near
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.network.params import Params
from jax_stepcache.pipeline import backend_of

from ...encoders.frozen import Tokenizer
from ...wan_vae import Tiles
from ..control.pipeline import LatentPipeline
from ..control.step import ControlStep
from ..robot.statistics import Statistics
from ..session.session import Session, session_struct
from .canvas import PictureSizes
from .encoders import Encoders
from .file import is_of_robot, load_robot_session, save_any_session
from .folder import load_folder
from .senses import Seen, Senses, check_robot_session, check_robots, senses_of
from .session import Heard, RobotSession, after_reset
from .step import RobotStep
from .turn import robot_step, sensed


class DreamZeroPipeline(LatentPipeline):
    """Steps robots through windows of frames, with any cache.

    With `encoders`, ``session = pipeline.start()`` begins a robot's session, and
    ``step = pipeline(session, message)`` takes a control step from the message that the
    robot sends: pictures of its cameras, its joints, an instruction. ``step.reply`` is
    what it is told to do, ``step.session`` goes on, and ``step.film()`` shows what was
    imagined.

    Without, or beside that, all is encoded: ``pipeline.start(text, negative_text)`` and
    ``pipeline(session, observation)``, for a batch of robots; see `LatentPipeline`.

    Attributes:
        senses: what lies between a message and the transformer, the encoders among it;
            None without encoders.
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
        encoders: Encoders | None = None,
        pictures: PictureSizes | None = None,
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
            encoders: for sessions from messages; these need ``statistics`` as well.
            pictures: sizes on the way to the encoders; the original's for latents of
                the model's size unless given.
            mesh: where the weights go, with ``rules``; see `jax_stepcache.load_params`.
            rules: likewise.
            attention: ``"xla"``, or ``"cudnn"`` for the fused kernel of GPUs, which
                needs 16-bit activations; None for the model's own, which picks.

        Raises:
            TypeError: for params, statistics or encoders that are none.
            ValueError: for unknown names or settings that do not fit.
        """
        super().__init__(
            params,
            cache_backend=cache_backend,
            cache_config=cache_config,
            guidance_scale=guidance_scale,
            statistics=statistics,
            attention=attention,
            mesh=mesh,
            rules=rules,
        )
        self.senses = senses_of(encoders, pictures, statistics, self.model)

    @classmethod
    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        embodiment: str = "oxe_droid",
        tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
        offload: bool | str | Sequence[str] = False,
        tiles: Tiles | None = None,
        dtype: DTypeLike | None = None,
        layers: str | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        attention: str | None = None,
        mesh: Mesh | None = None,
        rules: Any = None,
    ) -> Self:
        """Makes a pipeline of a released folder, encoders, statistics and all.

        Args:
            folder: such as ``DreamZero-DROID``, downloaded.
            embodiment: the robot.
            tokenizer: the text encoder's, or where it lies; in the folder unless given.
            offload: what waits on the host, or True; see `Encoders.offloaded`.
            tiles: how pictures are cut that do not fit; see `Encoders`.
            dtype: see `jax_stepcache.load_params`; so is ``layers``.
            layers: likewise.
            cache_backend: see `DreamZeroPipeline`; so are the following.
            cache_config: likewise.
            guidance_scale: likewise.
            attention: likewise.
            mesh: where the weights of all networks go.
            rules: likewise.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: as `load_folder`; likewise ImportError and ValueError.
        """
        backend_of(cache_backend, cache_config)  # A typo: weights take long.
        loading = {"dtype": dtype, "mesh": mesh, "rules": rules, "layers": layers}
        loaded = load_folder(
            folder, embodiment, tokenizer, offload=offload, tiles=tiles, **loading
        )
        return cls(
            loaded.params,
            cache_backend=cache_backend,
            cache_config=cache_config,
            guidance_scale=guidance_scale,
            statistics=loaded.statistics,
            encoders=loaded.encoders,
            pictures=loaded.pictures,
            attention=attention,
        )

    @overload
    def start(self) -> RobotSession: ...
    @overload
    def start(
        self, text: jax.Array, negative_text: jax.Array | None = None
    ) -> Session: ...
    def start(self, text: Any = None, negative_text: Any = None) -> Any:
        """Begins a robot's session; or, given encoded prompts, sessions of latents.

        Args:
            text: None for a session of messages; otherwise see `LatentPipeline.start`.
            negative_text: likewise.

        Returns:
            The session, for the first control step.

        Raises:
            ValueError: for shapes that do not fit; or without text and encoders.
        """
        if text is None and negative_text is None:
            self._sensing()
            return RobotSession()
        return super().start(cast("jax.Array", text), negative_text)

    @overload
    def __call__(
        self, session: Session, observation: Mapping[str, Any], **rest: Any
    ) -> ControlStep: ...
    @overload
    def __call__(
        self, session: RobotSession, observation: Mapping[str, Any], **rest: Any
    ) -> RobotStep: ...
    def __call__(
        self,
        session: Any,
        observation: Mapping[str, Any],
        *,
        noise: Mapping[str, jax.Array] | None = None,
        key: jax.Array | None = None,
        donate: bool = True,
        **options: Any,
    ) -> Any:
        """Takes a control step.

        Args:
            session: a robot's, or sessions of latents.
            observation: the robot's message: ``observation/...`` pictures, uint8
                (H, W, 3) or (T, H, W, 3), and state, ``prompt``, ``session_id``; see
                `read_request`. For sessions of latents see `LatentPipeline`.
            noise: ``video`` and ``action`` at the first sigma, float32[B, ...].
            key: draws the noise where none is given; None for the same at every step,
                as in the original.
            donate: whether the step may write into the session's buffers; it cannot be
                used again then. False keeps it, at the cost of a second KV cache.
            **options: of `jax_stepcache.sample`: ``num_inference_steps``, ``shift``,
                ``solver``, ``final_noise={"video": 0.8}``, ``progress``, ...

        Returns:
            The step: a `RobotStep`, or a `ControlStep` of latents.

        Raises:
            ValueError: for what does not fit. The session is unchanged then.
            TypeError: for arguments of the wrong kind; likewise.
        """
        if not isinstance(session, RobotSession):
            return super().__call__(
                session, observation, noise=noise, key=key, donate=donate, **options
            )
        message = self._heard(session, observation, noise, key, options)
        ((latents, seen),) = self._sensed([message], 1, donate=donate)
        step = super().__call__(
            latents, seen.shown, noise=noise, key=key, donate=donate, **options
        )
        return robot_step(self._sensing(), message, seen, step, self.film)

    @overload
    def step_many(
        self, sessions: Sequence[Session], observations: Sequence[Any], **rest: Any
    ) -> list[ControlStep]: ...
    @overload
    def step_many(
        self, sessions: Sequence[RobotSession], observations: Sequence[Any], **rest: Any
    ) -> list[RobotStep]: ...
    def step_many(
        self,
        sessions: Any,
        observations: Sequence[Mapping[str, Any]],
        *,
        noises: Sequence[Mapping[str, jax.Array] | None] | None = None,
        keys: Sequence[jax.Array | None] | None = None,
        each: Sequence[Mapping[str, Any]] | None = None,
        slots: int = 8,
        max_inference_steps: int | None = None,
        donate: bool = True,
        **options: Any,
    ) -> Any:
        """Takes a control step with many robots, each as if it were alone.

        See `LatentPipeline.step_many`; with robots' sessions, ``observations`` are
        their messages, and each robot has frames, prompt and film of its own. Pictures
        of up to ``slots`` robots are encoded in a call, and so are prompts.

        Args:
            sessions: one of each robot, all of messages or all of latents.
            observations: each one's message; see `__call__`.
            noises: each one's noise, or None.
            keys: each one's key, or None.
            each: each one's own options.
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
        rest = {"noises": noises, "keys": keys, "each": each, "slots": slots, **options}
        rest |= {"donate": donate, "max_inference_steps": max_inference_steps}
        of_messages = isinstance(sessions, Sequence) and any(
            isinstance(session, RobotSession) for session in sessions
        )
        if not of_messages:
            return super().step_many(sessions, observations, **rest)
        check_robots(sessions, slots, observations, noises, keys, each)
        messages = []
        for i, session in enumerate(sessions):
            noise = None if noises is None else noises[i]
            own = {} if each is None else each[i]
            with naming("sessions", i):
                asked = {**options, **own}
                heard = self._heard(session, observations[i], noise, None, asked)
                messages.append(heard)
        sensed = self._sensed(messages, slots, donate=False)
        shown = [seen.shown for _, seen in sensed]
        steps = super().step_many([latents for latents, _ in sensed], shown, **rest)
        return [
            robot_step(self._sensing(), message, seen, step, self.film)
            for message, (_, seen), step in zip(messages, sensed, steps, strict=True)
        ]

    def reset(self, session: RobotSession) -> RobotSession:
        """What a robot's ``reset`` does: frames and film go; prompt and features stay.

        Args:
            session: the session; it stays as it is, for `film`.

        Returns:
            The session to go on with. As in the original, that of a 14B model keeps its
            position, and the next step's single frame begins a window.
        """
        whole = self._sensing().whole_resets
        check_robot_session(session)
        return after_reset(session, whole)

    @in_automatic_context
    def film(self, session: RobotSession, room: int | None = None) -> np.ndarray:
        """Decodes what a robot has imagined since its last reset, as one stream.

        Args:
            session: the session.
            room: latent frames that are decoded in any case; see `Senses.film`.

        Returns:
            uint8 (F, H, W, 3) of what was encoded; four frames for each latent one but
            the first, which has one; none before the first step. Where a window begins
            anew, its first frame follows the imagined ones.
        """
        return self._sensing().film(session, room)

    def save_session(
        self, path: str | os.PathLike[str], session: Session | RobotSession
    ) -> None:
        """Writes a robot's session, or sessions of latents, to a safetensors file.

        Args:
            path: the file; it has another name until it is whole.
            session: with a robot's go its frames, prompt and film.
        """
        latents = session.latents if isinstance(session, RobotSession) else session
        if latents is not None:
            self._check_session(latents)
        return save_any_session(path, session)

    def load_session(self, path: str | os.PathLike[str]) -> Any:
        """Reads a session that `save_session` has written, bit for bit.

        Args:
            path: the file.

        Returns:
            A `RobotSession` or a `Session`, whatever was written.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is cut short, or of another model, robot or guidance.
        """
        if not is_of_robot(path):
            return super().load_session(path)
        wanted = session_struct(self.model.size, 1, self.guided)
        where = are_apart(self.params.weights), self._mesh
        return load_robot_session(path, wanted, self._sensing().views, *where)

    def _sensing(self) -> Senses:
        if self.senses is None:
            raise ValueError(
                "this pipeline has no encoders, so sessions begin with encoded prompts:"
                " pipeline.start(text, negative_text)"
            )
        return self.senses

    def _heard(
        self,
        session: RobotSession,
        message: Mapping[str, Any],
        noise: Any,
        key: jax.Array | None,
        options: Mapping[str, Any],
    ) -> Heard:
        """The message in its session; all that could be wrong is told here."""
        senses = self._sensing()
        if session.latents is not None:
            self._check_session(session.latents)
        if noise is not None:
            check_arrays(dict(noise), self.model.noise_struct(1), "noise")
        check_near(self.params.weights, noise=noise, key=key)
        self._checked_options(options, 1, key)
        return senses.heard(session, message)

    @in_automatic_context
    def _sensed(
        self, messages: Sequence[Heard], most: int, *, donate: bool
    ) -> list[tuple[Session, Seen]]:
        """What the transformer is given; see `sensed`."""
        return sensed(self, self._sensing(), messages, most, donate=donate)

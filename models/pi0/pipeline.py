"""pi0 in a control loop: a robot's message in, a chunk of actions out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig
from jax_stepcache.errors import brief, naming, naming_arguments
from jax_stepcache.loop.result import Stats
from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_params, open_checkpoint
from jax_stepcache.paths import as_path
from jax_stepcache.pipeline import CachedSampler, backend_of
from jax_stepcache.requests.many import sample_many

from .checkpoint.released import ASSETS
from .model import CAMERAS, Pi0Model
from .pictures import as_sent
from .robot.message import read
from .robot.robots import Robot, get_robot
from .robot.statistics import FILE, Statistics, load_statistics
from .robot.words import Words, load_words


class Pi0Step(NamedTuple):
    """What a message is answered by.

    Attributes:
        actions: float32 (horizon, n), in the robot's units.
        stats: which steps ran the action expert.
    """

    actions: np.ndarray
    stats: Stats


def _assets_of(folder: Path, robot: Robot) -> Path:
    """The folder, or file, of a robot's statistics.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if there are those of others alone: they would move an arm wrongly.
    """
    if folder.is_file():
        # Only these: what else is beside a file may be anything, and much.
        beside = [folder.parent / FILE, *(folder.parent / ASSETS).glob(f"**/{FILE}")]
        files = [one for one in beside if one.is_file()]
    else:
        files = list(folder.glob(f"**/{FILE}"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no {FILE}: copy the released folder's {ASSETS!r} "
            f"{'beside' if folder.is_file() else 'into'} it; or make the pipeline of "
            "load_params, load_statistics and load_words"
        )
    if len(files) == 1 and files[0].parent == _there(folder):
        return files[0]
    there = {file.parent.name: file.parent for file in files}
    if robot.name not in there:
        raise ValueError(
            f"{folder} has statistics of {sorted(there)}, and none of "
            f"{robot.name!r}; name the robot that the checkpoint is for"
        )
    return there[robot.name]


def _there(folder: Path) -> Path:
    """Where what belongs to the weights lies."""
    return folder.parent if folder.is_file() else folder


class Pi0Pipeline(CachedSampler):
    """Answers robots, as openpi's policies do; nothing is kept between two messages.

    ``pipeline(message)`` is a chunk of actions. What a cache saves are calls of the
    action expert: pictures and prompt are read once for each message, whatever the
    cache, and take most of the time (``jax-stepcache info`` says how much).

    Attributes:
        params: the weights.
        model: the model they belong to.
        robot: whose messages these are.
        statistics: what states and actions are normalised by.
        words: makes tokens of prompts.
        default_prompt: the words of messages without; None if there must be some.
        cache_backend: see `jax_stepcache.Pipeline`.
        guidance_scale: 1, for there is no guidance.
    """

    guidance_scale = 1.0
    guided = False

    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def __init__(
        self,
        params: Params,
        *,
        statistics: Statistics,
        words: Words,
        robot: str | Robot = "droid",
        default_prompt: str | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: a pi0 or pi0.5, from `jax_stepcache.load_params`.
            statistics: from `load_statistics`.
            words: from `load_words`.
            robot: ``"droid"``, ``"libero"`` or a `Robot` of your own.
            default_prompt: the words of messages without.
            cache_backend: see `jax_stepcache.Pipeline`.
            cache_config: likewise.

        Raises:
            TypeError: if the params are no pi0's.
            ValueError: for unknown names or settings that do not fit.
        """
        if not isinstance(getattr(params, "model", None), Pi0Model):
            raise TypeError(f"params is {brief(params)}; give those of a pi0")
        super().__init__(params, cache_backend=cache_backend, cache_config=cache_config)
        self.model: Pi0Model = params.model
        self.robot, self.statistics, self.words = get_robot(robot), statistics, words
        self.default_prompt = default_prompt
        self._check_sizes()

    @classmethod
    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        robot: str | Robot = "droid",
        tokenizer: str | os.PathLike[str] | None = None,
        dtype: Any = None,
        mesh: Any = None,
        rules: Any = None,
        default_prompt: str | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    ) -> Pi0Pipeline:
        """Loads a released folder.

        Args:
            folder: openpi's, with ``params`` and ``assets`` in it; or what
                ``jax-stepcache convert`` made of one, with ``assets`` copied into it.
            robot: see `Pi0Pipeline`.
            tokenizer: ``paligemma_tokenizer.model``; None if it lies there, too.
            dtype: see `jax_stepcache.load_params`; so are ``mesh`` and ``rules``.
            mesh: likewise.
            rules: likewise.
            default_prompt: see `Pi0Pipeline`; so are the following.
            cache_backend: likewise.
            cache_config: likewise.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: if something is not there; before weights are read.
            ValueError: if something is damaged or does not fit.
        """
        backend_of(cache_backend, cache_config)  # A typo: weights take long.
        folder = as_path(folder)
        robot = get_robot(robot)
        model = open_checkpoint(folder).model
        if not isinstance(model, Pi0Model):
            raise ValueError(f"{folder} holds {model.name}, no pi0")
        c = model.config
        words = load_words(
            _there(folder) if tokenizer is None else tokenizer,
            c.max_token_len,
            with_state=c.pi05 and robot.says_state,
        )
        statistics = load_statistics(_assets_of(folder, robot), quantiles=c.pi05)
        params = load_params(folder, dtype=dtype, mesh=mesh, rules=rules)
        return cls(
            params,
            statistics=statistics,
            words=words,
            robot=robot,
            default_prompt=default_prompt,
            cache_backend=cache_backend,
            cache_config=cache_config,
        )

    def __call__(
        self,
        message: Mapping[str, Any],
        *,
        noise: Any = None,
        key: jax.Array | None = None,
        **options: Any,
    ) -> Pi0Step:
        """Answers one robot.

        Args:
            message: see `Robot` and `read`; openpi's keys.
            noise: float32 (horizon, action_dim), or None.
            key: draws the noise that is not given; None for ``jax.random.key(0)``.
            **options: of `jax_stepcache.sample`: ``num_inference_steps``, ``cache``,
                ``solver``, ...

        Returns:
            The actions.

        Raises:
            ValueError: for what does not fit, naming it.
            TypeError: for what is of another kind; likewise.
        """
        (one,) = self._observed([message])
        state, observation = one
        noise = None if noise is None else jnp.asarray(noise, jnp.float32)[None]
        result = self.sampler(
            self.params, observation=observation, noise=noise, key=key, **options
        )
        return self._step(state, result)

    def step_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        keys: Sequence[jax.Array | None] | None = None,
        each: Sequence[Mapping[str, Any]] | None = None,
        slots: int = 8,
        max_inference_steps: int | None = None,
        **options: Any,
    ) -> list[Pi0Step]:
        """Answers many robots, each as if it were alone.

        Args:
            messages: one of each.
            keys: each one's key, or None.
            each: each one's own options, fields of `jax_stepcache.Request`.
            slots: robots side by side.
            max_inference_steps: see `jax_stepcache.sample_many`.
            **options: options that all share.

        Returns:
            The answers, in the order of the messages.

        Raises:
            ValueError: for what does not fit, with the robot's index.
            TypeError: likewise.
        """
        keys = [None] * len(messages) if keys is None else keys
        each = [{}] * len(messages) if each is None else each
        for name, given in (("keys", keys), ("each", each)):
            if len(given) != len(messages):
                raise ValueError(
                    f"{name} has {len(given)} entries for {len(messages)} messages"
                )
        observed = self._observed(messages)
        requests = [
            {**own, "observation": observation, "key": key}
            for (_, observation), key, own in zip(observed, keys, each, strict=True)
        ]
        preset = getattr(self.sampler, "keywords", {})
        results = sample_many(
            self.params,
            requests,
            slots=slots,
            max_inference_steps=max_inference_steps,
            **{**preset, **options},
        )
        return [
            self._step(state, result)
            for (state, _), result in zip(observed, results, strict=True)
        ]

    def _observed(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> list[tuple[np.ndarray, dict[str, Any]]]:
        """Each robot's state in its units, and what the network is shown."""
        found = []
        for i, message in enumerate(messages):
            with naming("messages", i):
                found.append(self._one(message))
        return found

    def _one(self, message: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        c, heard = self.model.config, read(self.robot, message, self.default_prompt)
        size = c.image_size
        normalised = self.statistics.state.normalised(heard.state)
        tokens = self.words(heard.prompt, normalised)
        state = np.zeros((1, c.action_dim), np.float32)
        state[0, : len(normalised)] = normalised
        black = np.zeros((1, size, size, 3), np.uint8)
        shown = {
            "image": {
                name: as_sent(heard.pictures[name][None], size)
                if name in heard.pictures
                else black
                for name in CAMERAS
            },
            "image_mask": {
                name: np.array([name in heard.pictures]) for name in CAMERAS
            },
            "state": state,
            "tokenized_prompt": tokens.ids[None],
            "tokenized_prompt_mask": tokens.mask[None],
        }
        return heard.state, shown

    def _step(self, state: np.ndarray, result: Any) -> Pi0Step:
        actions = self.statistics.actions.in_units(np.asarray(result.sample[0]))
        actions = actions[:, : self.robot.actions]
        which = self.robot.differences(self.model.config.pi05)
        actions[:, which] += state[which]
        return Pi0Step(actions, result.stats)

    def _check_sizes(self) -> None:
        c, robot = self.model.config, self.robot
        if self.statistics.state.quantiles != c.pi05:
            raise ValueError(
                "statistics are "
                + ("percentiles" if self.statistics.state.quantiles else "deviations")
                + f"; pi0{'.5' if c.pi05 else ''} takes the other kind: "
                f"load_statistics(..., quantiles={c.pi05})"
            )
        says = c.pi05 and robot.says_state
        if self.words.with_state != says or self.words.length != c.max_token_len:
            raise ValueError(
                f"words make {self.words.length} tokens, with_state="
                f"{self.words.with_state}; the model takes {c.max_token_len} and "
                f"{says}"
            )
        for what, width, spread in (
            ("state", robot.state_width, self.statistics.state),
            ("actions", robot.actions, self.statistics.actions),
        ):
            if len(spread.low) < width or width > c.action_dim:
                raise ValueError(
                    f"a {robot.name} has {width} numbers in {what}; the statistics "
                    f"have {len(spread.low)}, and the network {c.action_dim}"
                )

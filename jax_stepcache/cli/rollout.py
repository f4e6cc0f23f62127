"""``jax-stepcache rollout``: closed-loop episodes with and without the cache."""

from __future__ import annotations

import argparse
from typing import Any

import jax
import numpy as np

from jax_stepcache.cli.drawings import save_gif
from jax_stepcache.cli.options import (
    cache_options,
    solver_options,
)
from jax_stepcache.loop.result import shown
from jax_stepcache.measure.compare import Contender, contenders, policy_of
from jax_stepcache.measure.table import table
from jax_stepcache.network.offered import offered
from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_module, load_params

_SHOWN = 4  # episodes in the GIF, side by side


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    if parsed.episodes < 1:
        raise ValueError(f"--episodes is {parsed.episodes}; it must be at least 1")
    params = load_params(parsed.params)
    if offered(params.model, "rollout") is None:
        raise ValueError(
            f"{params.model.name} does not act in a world of its own; 'tabletop' and "
            "'metaworld' do"
        )
    world, noise = jax.random.split(jax.random.key(parsed.seed))
    rows = contenders(
        params,
        parsed.cache,
        solver_options(parsed),
        cache_options(parsed),
        observation=params.model.example(world, 1),
        key=noise,
    )
    print(params)
    outcomes = {
        row.name: play(params, row, parsed.seed, parsed.episodes) for row in rows
    }
    header = ["", "success", shown("± s.e."), "model calls", "world steps"]
    header += tasks_of(outcomes[parsed.cache])
    print(table(header, [cells(name, x) for name, x in outcomes.items()]))
    path = parsed.out / "rollout.gif"
    save_gif(path, strip_of_films(params, outcomes[parsed.cache]))
    print(f"{min(_SHOWN, parsed.episodes)} episodes with {parsed.cache}: {path}")


def play(params: Params, row: Contender, seed: int, episodes: int) -> Any:
    """Lets a contender act; the same seed gives all of them the same episodes."""
    policy, options = policy_of(params, row)
    return load_module(params.model.name).rollout(
        params, policy, jax.random.key(seed), episodes=episodes, **options
    )


def cells(name: str, outcome: Any) -> list[str]:
    """One row of the table."""
    success = np.asarray(outcome.success)
    error = np.sqrt(success.mean() * (1 - success.mean()) / success.size)
    return [
        name,
        f"{success.mean():.3f}",
        f"{error:.3f}",
        f"{np.mean(outcome.model_calls):.2f}",
        f"{np.mean(outcome.steps[success]) if success.any() else np.nan:.1f}",
        *(
            f"{success[np.array(outcome.tasks) == task].mean():.3f}"
            for task in tasks_of(outcome)
        ),
    ]


def tasks_of(outcome: Any) -> list[str]:
    """The tasks that there are, of a world with several."""
    return list(dict.fromkeys(getattr(outcome, "tasks", ())))


def strip_of_films(params: Params, outcome: Any) -> np.ndarray:
    """The first episodes side by side, [time, height, width, 3]."""
    film = load_module(params.model.name).film
    count = min(_SHOWN, len(outcome.success))
    return np.concatenate([np.asarray(film(outcome, i)) for i in range(count)], axis=2)

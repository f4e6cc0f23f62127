"""``jax-stepcache rollout``: closed-loop episodes with and without the cache."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jax_stepcache.cli.drawings import save_gif
from jax_stepcache.cli.options import (
    CACHE,
    cache_options,
    solver_options,
)
from jax_stepcache.loop.result import shown
from jax_stepcache.measure.compare import Contender, contenders, policy_of
from jax_stepcache.measure.table import table
from jax_stepcache.network.offered import offered
from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_module, load_params, open_checkpoint

_SHOWN = 4  # episodes in the GIF, side by side
SERVED = ("metaworld",)  # worlds whose robots ask a server


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    if parsed.episodes < 1:
        raise ValueError(f"--episodes is {parsed.episodes}; it must be at least 1")
    if parsed.server is not None:
        run_served(parsed)
        return
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
    tell(parsed, load_module(params.model.name), outcomes, parsed.cache)


def run_served(parsed: argparse.Namespace) -> None:
    """Lets a policy server act: weights, cache and steps are its own."""
    given = [*cache_options(parsed), *solver_options(parsed)]
    if parsed.cache != CACHE:
        given.insert(0, "cache")
    if given:
        raise ValueError(
            f"--server brings its own {', '.join(given)}: give them to 'jax-stepcache "
            "serve'"
        )
    # A name suffices, for no weights are read.
    if parsed.params in SERVED:
        module = load_module(parsed.params)
    else:
        module = load_module(open_checkpoint(parsed.params).model.name)
    rollout = getattr(module, "served_rollout", None)
    if rollout is None:
        raise ValueError(
            f"--server is for --params {' or '.join(SERVED)}, not {parsed.params}: its "
            "episodes need the policy in the same program"
        )
    key = jax.random.key(parsed.seed)
    outcome = rollout(parsed.server, key, episodes=parsed.episodes)
    tell(parsed, module, {parsed.server: outcome}, parsed.server)


def tell(
    parsed: argparse.Namespace,
    module: ModuleType,
    outcomes: dict[str, Any],
    shown_row: str,
) -> None:
    """Prints the table, and writes the film of one row.

    Args:
        parsed: the command line.
        module: the model's package.
        outcomes: by row; the first is what the others are compared with.
        shown_row: the row of the film.
    """
    first = next(iter(outcomes.values()))
    header = ["", "success", shown("± s.e."), "behind", shown("± s.e.")]
    header += ["model calls", "world steps", *times_of(first), *tasks_of(first)]
    print(table(header, [cells(name, x, first) for name, x in outcomes.items()]))
    path = parsed.out / "rollout.gif"
    save_gif(path, strip_of_films(module, outcomes[shown_row]))
    print(f"{min(_SHOWN, parsed.episodes)} episodes with {shown_row}: {path}")


def play(params: Params, row: Contender, seed: int, episodes: int) -> Any:
    """Lets a contender act; the same seed gives all of them the same episodes."""
    policy, options = policy_of(params, row)
    return load_module(params.model.name).rollout(
        params, policy, jax.random.key(seed), episodes=episodes, **options
    )


def cells(name: str, outcome: Any, first: Any) -> list[str]:
    """One row of the table.

    Args:
        name: the row's.
        outcome: what became of its episodes.
        first: of the first row, which had the same ones.
    """
    success = np.asarray(outcome.success)
    away = np.asarray(first.success).astype(float) - success
    return [
        name,
        f"{success.mean():.3f}",
        f"{success.std() / np.sqrt(success.size):.3f}",
        f"{away.mean():.3f}",
        f"{away.std() / np.sqrt(away.size):.3f}",
        f"{np.mean(outcome.model_calls):.2f}",
        f"{np.mean(outcome.steps[success]) if success.any() else np.nan:.1f}",
        *(f"{1e3 * np.median(outcome.seconds):.0f}" for _ in times_of(outcome)),
        *(
            f"{success[np.array(outcome.tasks) == task].mean():.3f}"
            for task in tasks_of(outcome)
        ),
    ]


def times_of(outcome: Any) -> list[str]:
    """What is told of time, of a world in which it is measured."""
    return ["ms a step of all robots"] if hasattr(outcome, "seconds") else []


def tasks_of(outcome: Any) -> list[str]:
    """The tasks that there are, of a world with several."""
    return list(dict.fromkeys(getattr(outcome, "tasks", ())))


def strip_of_films(module: ModuleType, outcome: Any) -> np.ndarray:
    """The first episodes side by side, [time, height, width, 3]."""
    count = min(_SHOWN, len(outcome.success))
    films = [np.asarray(module.film(outcome, i)) for i in range(count)]
    return np.concatenate(films, axis=2)

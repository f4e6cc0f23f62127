"""A robot's quantiles, which a checkpoint carries in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jax_stepcache.errors import unknown_name
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.paths import as_path

from .embodiments import Embodiment, get_embodiment
from .quantiles import Quantiles, concatenated, mapping, read_quantiles

METADATA = Path("experiment_cfg", "metadata.json")
"""Where a checkpoint's folder has them."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class Statistics:
    """A robot's quantiles, its keys concatenated in the embodiment's order.

    A pytree: the quantiles are its leaves, so other numbers are not another program;
    the embodiment and the widths are static.

    Attributes:
        state: of the raw state.
        action: of the actions; of the difference from the state for relative keys.
        embodiment: the robot.
        state_dims: width of each of the embodiment's ``state_keys``.
        action_dims: width of each of its ``action_keys``.
    """

    state: Quantiles
    action: Quantiles
    embodiment: Embodiment = field(metadata={"static": True})
    state_dims: tuple[int, ...] = field(metadata={"static": True})
    action_dims: tuple[int, ...] = field(metadata={"static": True})

    @property
    def state_width(self) -> int:
        """Components of a state, without padding."""
        return sum(self.state_dims)

    @property
    def action_width(self) -> int:
        """Components of an action, without padding."""
        return sum(self.action_dims)

    @classmethod
    def from_metadata(
        cls,
        metadata: Mapping[str, Any],
        embodiment: str | Embodiment,
        source: str = "metadata",
    ) -> Statistics:
        """Takes one robot's quantiles out of a checkpoint's metadata.

        Keys that the embodiment does not use are passed over, and so is everything
        but the quantiles. Statistics of each step of the horizon apart, which the
        original knows and no published configuration uses, are not supported.

        Args:
            metadata: ``{tag: {"statistics": {"state" | "action": {key: {"q01": [...],
                "q99": [...]}}}}}``.
            embodiment: the robot, or its name.
            source: where the metadata comes from, for errors.

        Returns:
            The statistics.

        Raises:
            ValueError: if the embodiment is not known or has no entry; or, with all
                faults listed, if keys or quantiles are missing, are no flat lists of
                finite numbers, differ in length, are the wrong way round, or a
                relative action is not as wide as its state.
        """
        robot = _robot(embodiment)
        tags = mapping(metadata)
        if robot.name not in tags:
            raise ValueError(
                f"{source} has no statistics of this robot: "
                f"{unknown_name('embodiment', robot.name, tags)}"
            )
        groups = mapping(mapping(tags[robot.name]).get("statistics"))
        state, state_faults = read_quantiles(groups, "state", robot.state_keys)
        action, action_faults = read_quantiles(groups, "action", robot.action_keys)
        faults = state_faults + action_faults
        faults += [
            f"action.{key} is relative and has {action[key].shape[1]} components, "
            f"state.{key} has {state[key].shape[1]}"
            for key in robot.relative_keys
            if key in state and key in action
            if state[key].shape != action[key].shape
        ]
        if faults:
            raise ValueError(
                f"{source}: the statistics of {robot.name!r} do not fit: "
                + "; ".join(faults)
            )
        return cls(
            state=concatenated(state),
            action=concatenated(action),
            embodiment=robot,
            state_dims=tuple(x.shape[1] for x in state.values()),
            action_dims=tuple(x.shape[1] for x in action.values()),
        )


def load_statistics(
    path: str | os.PathLike[str], embodiment: str | Embodiment
) -> Statistics:
    """Reads a robot's quantiles from a checkpoint.

    Args:
        path: the checkpoint's folder, or the ``metadata.json`` in its
            ``experiment_cfg``.
        embodiment: the robot, or its name.

    Returns:
        The statistics, on the default device.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON, or does not fit; see `Statistics.from_metadata`.
    """
    # An unknown name should not wait for a file.
    robot = _robot(embodiment)
    file = as_path(path)
    if file.is_dir():
        file = file / METADATA
    if not file.is_file():
        raise FileNotFoundError(
            f"no statistics at {file}; give a metadata.json, or a checkpoint's folder, "
            f"where it is {METADATA}"
        )
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    return Statistics.from_metadata(metadata, robot, str(file))


def _robot(embodiment: str | Embodiment) -> Embodiment:
    if isinstance(embodiment, Embodiment):
        return embodiment
    return get_embodiment(embodiment)

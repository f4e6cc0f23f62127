"""The sizes of a VAE, read off the shapes of its tensors under the original's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..network.config import WanVAEConfig
from ..network.published import CONFIGS

_FRAME = 3  # channels of a frame that is not folded
_PLACE = re.compile(r"encoder\.downsamples\.(?:(\d+)\.downsamples\.)?(\d+)\.(.+)$")


def config_of_tensors(
    shapes: Mapping[str, tuple[int, ...]], path: Path
) -> WanVAEConfig:
    """The configuration that has tensors of these shapes.

    Means and deviations of the latents are in no file of the original's: they are those
    of the released VAE of the same kind and as many latent channels, if there is one.

    Args:
        shapes: by name, without prefix.
        path: where they are from, for the error.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if they are of no VAE.
    """
    try:
        width, channels = shapes["encoder.conv1.weight"][:2]
        residual = channels != _FRAME
        levels = _levels(shapes)
        widths = [shapes[last][0] for last, *_ in levels]
        z_dim = shapes["decoder.conv1.weight"][1]
        multiples = tuple(one // width for one in widths)
        mean, std = _statistics(z_dim, residual)
        return WanVAEConfig(
            dim=width,
            z_dim=z_dim,
            dim_mult=multiples,
            num_res_blocks=levels[0][1],
            temperal_downsample=tuple(temporal for *_, temporal in levels[:-1]),
            dec_dim=(
                shapes["decoder.conv1.weight"][0] // multiples[-1] if residual else None
            ),
            latents_mean=mean,
            latents_std=std,
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{path} has tensors of a VAE, of sizes that none can have: {error}"
        ) from error


def _levels(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, int, bool]]:
    """What the encoder's levels are.

    Returns:
        Of each level the name of its last kernel, how many blocks it has, and whether
        time is halved behind it.
    """
    parts: dict[tuple[int, int], tuple[str, set[str]]] = {}
    for name in shapes:
        if found := _PLACE.match(name):
            beginning = name.removesuffix(found[3])
            place = int(found[1] or 0), int(found[2])
            parts.setdefault(place, (beginning, set()))[1].add(found[3])
    levels, last, blocks = [], "", 0
    for _, (beginning, inside) in sorted(parts.items()):
        if "residual.6.weight" in inside:
            last, blocks = beginning + "residual.6.weight", blocks + 1
        if "resample.1.weight" in inside:
            levels.append((last, blocks, "time_conv.weight" in inside))
            blocks = 0
    return [*levels, (last, blocks, False)]


Row = tuple[float, ...]


def _statistics(z_dim: int, residual: bool) -> tuple[Row, Row]:
    """Means and deviations of the latents; empty where nobody has said any."""
    for config in CONFIGS.values():
        if (config.z_dim, config.residual) == (z_dim, residual):
            return config.latents_mean, config.latents_std
    return (), ()

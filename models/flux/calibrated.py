"""What the authors of TeaCache and MagCache found for FLUX.

Coefficients and threshold are from https://github.com/ali-vilab/TeaCache, its folder
TeaCache4FLUX; ratios from https://github.com/Zehong-Ma/MagCache, MagCache4FLUX. Both
are Apache-2.0. They are of dev, at 28 steps.
"""

from __future__ import annotations

from typing import Any

from .sizes import FluxRelease

_COEFFICIENTS = (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861)
# fmt: off
_RATIOS = (
    1.0, 1.21094, 1.11719, 1.07812, 1.0625, 1.03906, 1.03125, 1.03906, 1.02344, 1.03125,
    1.02344, 0.98047, 1.01562, 1.00781, 1.0, 1.00781, 1.0, 1.00781, 1.0, 1.0, 0.99609,
    0.99609, 0.98047, 0.98828, 0.96484, 0.95703, 0.93359, 0.89062,
)
# fmt: on
# Of the 28 steps, one that always runs.
_FORCED = 11


def calibrated(release: FluxRelease, backend: str) -> dict[str, Any]:
    """Settings of a cache for a release, see `Calibrated`.

    Args:
        release: the release.
        backend: ``"tea_cache"`` or ``"mag_cache"``; ``"original_tea_cache"`` and
            ``"original_mag_cache"`` are as in their authors' own code.

    Returns:
        Settings by name: how the originals for FLUX decide, and, for dev, the numbers.
    """
    dev = release.transformer.guidance_embeds
    tea = {"rel_l1_thresh": 0.25, "coefficients": _COEFFICIENTS} if dev else {}
    mag = {"mag_ratios": _RATIOS} if dev else {}
    settings: dict[str, dict[str, Any]] = {
        "tea_cache": tea,
        "original_tea_cache": {**tea, "modulated": True},
        "mag_cache": mag,
        "original_mag_cache": {**mag, "of_pictures": True, "forced": _FORCED},
    }
    return settings.get(backend, {})

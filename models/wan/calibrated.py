"""What the authors of TeaCache and MagCache found for the releases.

Coefficients and thresholds are from https://github.com/ali-vilab/TeaCache, its folder
TeaCache4Wan2.1; ratios from https://github.com/Zehong-Ma/MagCache, MagCache4Wan2.1 and
2.2. Both are Apache-2.0. Each pair of ratios is of the conditional branch and of the
unconditional one.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from .sizes import WanRelease

_FILE = Path(__file__).with_name("caches.json")


def calibrated(release: WanRelease, backend: str) -> dict[str, Any]:
    """Settings of a cache for a release, see `Calibrated`.

    Args:
        release: the release.
        backend: ``"tea_cache"`` or ``"mag_cache"``; ``"original_tea_cache"``, with or
            without ``"_ret"`` behind it, and ``"original_mag_cache"`` are as in their
            authors' own code.

    Returns:
        Settings by name; none where nothing was published.
    """
    found = _read().get(release.name, {})
    plain, ratios = found.get("tea_cache"), found.get("mag_ratios")
    two = release.boundary_ratio is not None
    settings: dict[str, Any] = {
        # Fitted to the embedded timestep, which vLLM-Omni's does not look at.
        "tea_cache": {"original": True} if plain else {},
        "original_tea_cache": plain or {},
        "original_tea_cache_ret": found.get("tea_cache_ret", {}),
    }
    if ratios is not None:
        settings["mag_cache"] = {"mag_ratios": ratios[::2], "original": two}
        settings["original_mag_cache"] = {
            "mag_ratios": ratios,
            "spares_high": two and release.task == "i2v",
        }
    return settings.get(backend, {})


@functools.cache
def _read() -> dict[str, Any]:
    return json.loads(_FILE.read_text())

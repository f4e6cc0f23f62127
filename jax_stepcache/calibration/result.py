"""What a calibration has found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jax_stepcache.calibration.quality import ahead
from jax_stepcache.loop.result import shown
from jax_stepcache.measure.table import table
from jax_stepcache.paths import as_path
from jax_stepcache.solvers.schedule import Schedule, num_steps_of
from jax_stepcache.solvers.table import SolverTable, table_to_json


class CurvePoint(NamedTuple):
    """A setting, and what it costs and gives.

    Attributes:
        setting: the threshold; or, of a schedule, its ``steps`` and ``forecast``; of
            tables, ``"found"``, or the name of one that was known before.
        model_calls: mean over samples; as replayed where nothing was sampled.
        psnr: dB against the uncached samples; None where nothing was sampled.
        sampled: whether the network was run to find out.
    """

    setting: Any
    model_calls: float
    psnr: float | None
    sampled: bool


@dataclass(frozen=True)
class Calibration:
    """The setting that meets the target, and how it was found.

    Attributes:
        cache: the backend's name, for ``sample(..., cache=...)``.
        cache_config: its settings, for ``sample(..., cache_config=...)``.
        target: what was asked for.
        met: whether the setting meets it; False only in `TargetNotReached.best`.
        model_calls: what it costs, mean over the samples.
        quality: dB against the uncached samples, by output.
        baseline: likewise of as many plain steps without a cache (the nearest whole
            number below), what caching has to beat.
        curve: all settings that were looked at, the cheapest first.
        sampler: options of `sample` that it holds for, where they were given.
        fit: further findings: TeaCache's ``coefficients`` and ``r_squared``, MagCache's
            ``mag_ratios``.
    """

    cache: str
    cache_config: Mapping[str, Any]
    target: Mapping[str, float]
    met: bool
    model_calls: float
    quality: Mapping[str, float]
    baseline: Mapping[str, float]
    curve: tuple[CurvePoint, ...]
    sampler: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lead(self) -> float:
        """How far it is ahead of as many plain steps, dB, where that is least."""
        return ahead(self.quality, self.baseline)

    @property
    def brief(self) -> str:
        """The settings on a line; of tables how many calls they make."""
        if "table" in self.cache_config:
            return f"a table of {num_steps_of(self.cache_config['table'])} calls"
        return json.dumps(_json(self.cache_config))

    @property
    def options(self) -> dict[str, Any]:
        """What to pass to `sample`: ``sample(params, **calibration.options)``."""
        config = dict(self.cache_config)
        return {"cache": self.cache, "cache_config": config, **self.sampler}

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON; what is infinite, or not known, is null."""
        return {
            "cache": self.cache,
            "cache_config": _json(self.cache_config),
            "sampler": _json(self.sampler),
            "target": dict(self.target),
            "met": self.met,
            "model_calls": self.model_calls,
            "quality": {name: _finite(x) for name, x in self.quality.items()},
            "baseline": {name: _finite(x) for name, x in self.baseline.items()},
            "curve": [
                point._replace(psnr=_finite(point.psnr))._asdict()
                for point in self.curve
            ],
            "fit": _json(self.fit),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON under a temporary name, then renames it.

        Raises:
            FileExistsError: if there is a folder of this name.
        """
        target = as_path(path)
        if target.is_dir():
            raise FileExistsError(f"{target} is a folder; give the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self.to_json(), indent=2) + "\n")
        os.replace(temporary, target)

    def __str__(self) -> str:
        """The curve as a table, and the setting."""
        cells = [
            [
                _short(point.setting),
                f"{point.model_calls:.2f}",
                "-" if point.psnr is None else f"{point.psnr:.1f} dB",
                "sampled" if point.sampled else "replayed",
            ]
            for point in self.curve
        ]
        wanted = ", ".join(f"{name} {value:g}" for name, value in self.target.items())
        found = ", ".join(f"{n or 'sample'} {q:.1f}" for n, q in self.quality.items())
        plain = ", ".join(f"{n or 'sample'} {q:.1f}" for n, q in self.baseline.items())
        lines = [
            table(["setting", "model calls", "PSNR", ""], cells),
            f"{self.cache}: {wanted} {'met' if self.met else 'NOT met'} with "
            f"{self.brief}",
            f"{self.model_calls:.2f} model calls, {found} dB; as many plain steps: "
            f"{plain or '-'} dB: {abs(self.lead):.1f} dB "
            f"{'ahead' if self.lead > 0 else 'behind'}",
        ]
        if "r_squared" in self.fit:
            lines.append(f"polynomial: R² = {self.fit['r_squared']:.3f}")
        return shown("\n".join(lines))


def _json(value: Any) -> Any:
    """Settings as JSON: arrays as lists, and of other objects what they print."""
    if isinstance(value, SolverTable):
        return table_to_json(value)
    if isinstance(value, Mapping):
        return {str(name): _json(one) for name, one in value.items()}
    if isinstance(value, Schedule):
        return _json(value._asdict())
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, str | bool | int | float | None):
        return value
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _finite(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def _short(setting: Any) -> str:
    if isinstance(setting, str):
        return setting
    if isinstance(setting, float):
        return f"{setting:.4g}"
    forecast = setting["forecast"]
    outputs = {"": forecast} if "name" in forecast else forecast
    each = [
        f"{output} {one['name']}".strip()
        + "".join(f" {k} {v:g}" for k, v in one.items() if k != "name" and v != 1)
        for output, one in outputs.items()
    ]
    return f"{' '.join(map(str, setting['steps']))}: {', '.join(each)}"

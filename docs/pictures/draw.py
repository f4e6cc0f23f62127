"""Draws the pictures of README and docs; needs the extra ``plot``.

    python docs/pictures/draw.py            # all
    python docs/pictures/draw.py sample     # one

Nothing in them depends on the speed of the machine, so a picture changes only where
what it shows does. `architecture.py` beside it draws how the library is laid out.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import json
import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jax_stepcache
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop import drive

FOLDER = Path(__file__).parent
BENCHMARKS = FOLDER.parent.parent / "benchmarks"
RESULTS = BENCHMARKS / "results" / "frontier.json"


def sample() -> Figure:
    """A table as it was seen, and what the model foresees of it with fewer calls."""
    params = jax_stepcache.load_params()
    seen = params.model.example(jax.random.key(0))
    runs = {
        "no cache": {},
        "step_cache": {"cache": "step_cache"},
        "tuned": {"cache": "tuned", "budget": 5},
    }
    figure = Figure(figsize=(7.4, 5.4), layout="constrained")
    axes = figure.subplots(len(runs), 4)
    first: Any = None
    for line, (name, options) in zip(axes, runs.items(), strict=True):
        result = jax_stepcache.sample(params, observation=seen, **options)
        decoded = jax.tree.map(np.asarray, params.model.decode(result.sample))
        first = decoded if first is None else first
        table = np.asarray(seen["image"])[0]
        for axis, image in zip(line, [table, *decoded["video"][0], table], strict=True):
            _show(axis, image)
        _path(line[3], seen, first["action"][0], "white")
        _path(line[3], seen, decoded["action"][0], "black")
        line[0].set_ylabel(
            f"{name}\n{int(result.stats.model_calls)} of 16 calls"
            f"{_near(first, decoded)}\n{_strip(result.stats.computed)}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=9,
        )
    titles = ("seen", "foreseen", "foreseen later", "actions")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    return figure


def _show(axis: Any, image: Any) -> None:
    """A camera's frame, on the coordinates of the table."""
    axis.imshow(
        np.clip(image, 0, 1), interpolation="nearest", extent=(0.0, 1.0, 1.0, 0.0)
    )
    axis.set(xticks=[], yticks=[])


def _path(axis: Any, seen: Any, actions: Any, colour: str) -> None:
    """The way that the gripper would take."""
    start = np.asarray(seen["state"])
    way = np.concatenate([start, start + np.cumsum(actions, axis=0)])
    axis.plot(*way.T, ".-", color=colour, linewidth=1, markersize=3)


def _near(first: Any, decoded: Any) -> str:
    """How near a video is to the first one."""
    error = float(np.mean((decoded["video"] - first["video"]) ** 2))
    return f", {-10 * np.log10(error):.1f} dB" if error else ""


def _strip(computed: Any) -> str:
    """The steps: filled where the network ran."""
    strip = "".join("■" if ran else "□" for ran in np.asarray(computed))
    return f"{strip[:8]}\n{strip[8:]}"


def signals() -> Figure:
    """What three caches look at, and the threshold that they compare it with."""
    params = jax_stepcache.load_params()
    caches = {
        "step_cache: cosine of the last two velocities": {"cache": "step_cache"},
        "tea_cache: change of the modulated input, added up": {"cache": "tea_cache"},
        "cache_dit: change of what the first block adds": {
            "cache": "cache_dit",
            "cache_config": {"max_warmup_steps": 1},
        },
    }
    runs = [jax_stepcache.sample(params, **options) for options in caches.values()]
    return jax_stepcache.summary(*runs, names=list(caches)).plot()


def frontier() -> Figure:
    """Quality for operations: every cache, and plain fewer steps."""
    rows = json.loads(RESULTS.read_text())
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, len(models))
    for axis, model in zip(axes, models, strict=True):
        own = [row for row in rows if row["model"] == model]
        whole = next(row["flops"] for row in own if row["policy"] == "uncached")
        families: dict[str, list[tuple[float, float]]] = {}
        for row in own:
            if row["psnr"]:
                name = row["policy"].split()[0].rstrip(",")
                families.setdefault(name, []).append(
                    (row["flops"] / whole, row["psnr"])
                )
        for i, (name, points) in enumerate(families.items()):
            x, y = np.array(sorted(points)).T
            marked = name in ("fewer_steps", "tuned")
            best = y >= np.maximum.accumulate(y)
            axis.plot(
                100 * x[best],
                y[best],
                "o-" if marked else ".-",
                color={"fewer_steps": "black", "tuned": "tab:red"}.get(name, f"C{i}"),
                linewidth=2 if marked else 0.8,
                markersize=5 if marked else 4,
                label=name,
            )
        axis.set(title=model, xlabel="operations, % of uncached", xlim=(20, 80))
        axis.set_ylabel("PSNR, dB")
        axis.grid(alpha=0.3)
    last = axes[-1]
    last.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def few_calls() -> Figure:
    """What each number of calls can give, by whoever chose them.

    Caches that decide by the sample stand at the calls that they made themselves, and
    at as many as their operations would do for.
    """
    gated = runpy.run_path(str(BENCHMARKS / "gated_tables.py"))
    frontier = json.loads(RESULTS.read_text())
    rows = json.loads((RESULTS.parent / "few_calls.json").read_text())
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(4.2 * len(models) + 1, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(models)))
    styles = {
        "plain": ("black", "o-"),
        "best plain": ("0.5", "s-"),
        "optimised": ("tab:blue", "v-"),
        "tuned": ("tab:red", "^-"),
        "bespoke": ("tab:green", "D-"),
    }
    for axis, model in zip(axes, models, strict=True):
        for kind, (color, style) in styles.items():
            own = [row for row in rows if (row["model"], row["kind"]) == (model, kind)]
            if own:
                own = sorted(own, key=lambda row: row["calls"])
                x = [row["calls"] for row in own]
                y = [row["psnr"] for row in own]
                axis.plot(x, y, style, color=color, label=kind, markersize=4)
                low = [row["psnr_p5"] for row in own]
                axis.fill_between(x, low, y, color=color, alpha=0.08, linewidth=0)
        numbers = sorted({row["calls"] for row in rows if row["model"] == model})
        for name, marker in (("at_calls", "x"), ("at_operations", "+")):
            found = [gated[name](frontier, model, n) for n in numbers]
            points = [
                (
                    row["calls"]
                    if name == "at_calls"
                    else gated["share"](frontier, row) * gated["NUM_STEPS"],
                    row["psnr"],
                )
                for row in found
                if row
            ]
            axis.plot(
                *np.array(points).T,
                marker,
                color="tab:purple",
                label=f"best gated cache, {name.replace('at_', 'by ')}",
            )
        axis.set(title=model, xlabel="network calls", ylabel="PSNR, dB", xticks=numbers)
        axis.grid(alpha=0.3)
    # Not every model has every line.
    named = {
        name: line
        for axis in axes
        for line, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    axes[-1].legend(
        named.values(),
        named,
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    return figure


def calibration() -> Figure:
    """The thresholds that a calibration tried, and the one that it chose."""
    params = jax_stepcache.load_params()
    found = jax_stepcache.calibrate(
        params, cache="tea_cache", target={"model_calls": 6}
    )
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    # The threshold at which nothing is skipped is as near as rounding lets it be.
    points = [p for p in found.curve if p.psnr is not None and p.model_calls < 16]
    calls, psnr = zip(*((p.model_calls, p.psnr) for p in points), strict=True)
    axis.plot(calls, psnr, "o", label="sampled")
    replayed = [p.model_calls for p in found.curve]
    floor = [min(psnr) - 5] * len(replayed)
    axis.plot(replayed, floor, "|", color="0.6", label="replayed, not sampled")
    chosen = found.cache_config["rel_l1_thresh"]
    axis.plot(
        [found.model_calls],
        [found.quality["video"]],
        "o",
        markersize=11,
        markerfacecolor="none",
        color="tab:red",
        label=f"chosen: rel_l1_thresh={chosen:.3g}",
    )
    axis.plot(
        [int(found.model_calls)],
        [found.baseline["video"]],
        "x",
        color="black",
        label="as many plain steps",
    )
    axis.set(xlabel="model calls", ylabel="PSNR of the video, dB")
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def timeline() -> Figure:
    """Twenty requests through four slots, over network calls."""
    params = jax_stepcache.load_params()
    requests = [
        jax_stepcache.Request(
            key=jax.random.key(i),
            num_inference_steps=8 + 4 * (i % 3),
            guidance_scale=1.5 + 0.5 * (i % 2),
            cache_config={"velocity_sim_thresholds": [0.95 + 0.01 * (i % 4), 0.9]},
        )
        for i in range(20)
    ]
    results = jax_stepcache.sample_many(params, requests, slots=4, cache="step_cache")
    return jax_stepcache.timeline(results).plot()


def digits() -> Figure:
    """Ten digits by the class-conditional DiT, with fewer and fewer calls."""
    params = jax_stepcache.load_params("dit")
    labels = {"label": np.arange(10)}
    runs = {"16 calls": {}}
    runs |= {
        f"tuned, {budget}": {"cache": "tuned", "budget": budget} for budget in (8, 6, 4)
    }
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(len(runs), 10)
    for line, (name, options) in zip(axes, runs.items(), strict=True):
        result = jax_stepcache.sample(params, observation=labels, **options)
        images = np.asarray(params.model.decode(result.sample)["image"])
        for axis, image in zip(line, images, strict=True):
            axis.imshow(np.clip(image[..., 0], 0, 1), cmap="gray_r")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def journey() -> Figure:
    """What two robots' cameras saw over a session, and which steps ran the network."""
    pipeline = DreamZeroPipeline(
        jax_stepcache.load_params(), cache_backend="step_cache"
    )
    driven = drive(pipeline, jax.random.key(0), robots=2, control_steps=4)
    count = driven.seen.shape[1]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(2, count)
    for robot, line in enumerate(axes):
        for frame, axis in enumerate(line):
            _show(axis, driven.seen[robot, frame])
            if not robot and frame % 2:
                stats = driven.steps[frame // 2].stats
                calls = int(stats.model_calls)
                axis.set_title(
                    f"step {frame // 2}: {calls} of {len(stats.computed)}", fontsize=7
                )
        line[0].set_ylabel(f"robot {robot}", fontsize=8)
    return figure


PICTURES = {
    "sample": sample,
    "signals": signals,
    "frontier": frontier,
    "few-calls": few_calls,
    "calibration": calibration,
    "timeline": timeline,
    "digits": digits,
    "journey": journey,
}


def main() -> None:
    """Draws all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description="Draws the pictures of the docs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    names = parser.parse_args().names or list(PICTURES)
    for name in names:
        if name not in PICTURES:
            parser.error(f"there is no picture {name!r}")
        path = FOLDER / f"{name}.png"
        # No date or version, so that the same picture is the same file.
        PICTURES[name]().savefig(
            path, dpi=110, format="png", metadata={"Software": None}
        )
        print(path)


if __name__ == "__main__":
    main()

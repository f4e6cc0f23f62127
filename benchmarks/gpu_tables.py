"""Tables of what XLA makes of programs for GPUs, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
ROBOTS = ("wan22-5b", "droid-14b")
# Their sizes, and steps.
FILMS = {
    "wan2.1-t2v-1.3b": ("81 frames of 480 x 832", 50),
    "wan2.2-ti2v-5b": ("121 frames of 704 x 1280", 50),
    "wan2.2-t2v-a14b": ("81 frames of 720 x 1280", 40),
}
# By what they keep.
_CACHES = ("none", "step_cache", "mag_cache", "tea_cache", "cache_dit")
ENCODERS = ("umt5-xxl", "clip-vit-h-14", "wan-vae-2.1", "wan-vae-2.2")
# What each program is, and how often a robot asks for it.
_ENCODING = {
    ("umt5-xxl", "encode"): ("a prompt of 512 tokens", "a new prompt"),
    ("clip-vit-h-14", "encode"): ("a canvas of 352 x 640", "a window begins"),
    ("wan-vae-2.1", "encode"): ("4 frames of 352 x 640", "a message"),
    ("wan-vae-2.1", "begin"): ("33 frames of 352 x 640", "a window begins"),
    ("wan-vae-2.1", "decode"): ("a film of 33 frames", "it is asked for"),
    ("wan-vae-2.2", "encode"): ("4 frames of 160 x 320", "a message"),
    ("wan-vae-2.2", "begin"): ("1 frame of 160 x 320", "a window begins"),
    ("wan-vae-2.2", "decode"): ("a film of 33 frames", "it is asked for"),
}


def gpu_program_table(result: dict[str, Any]) -> str:
    """The large models on one GPU."""
    rows = [row for row in _robots(result) if row["devices"] == 1]
    lines = [
        "One H100, or H200 where it says so, bfloat16, guided:",
        "",
        "| program | calls | floor | over a window | peak memory | "
        "kernels a layer | predicates that the host reads |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {_said(row)} | {_calls(row)} | {row['floor_ms']:.1f} ms | "
            f"{row['floor_ms_over_a_window']:.1f} ms | {_peak(row)} | "
            f"{row['kernels_per_layer']:.0f} | {row['host_reads_a_generation']} |"
        )
    return "\n".join(lines)


def gpu_meshes_table(result: dict[str, Any]) -> str:
    """droid-14b's control step on meshes."""
    rows = {
        (row["ask"]["rules"], row["devices"], row["ask"]["program"]): row
        for row in _robots(result)
        if row["ask"]["model"] == "droid-14b" and row["gpu"] == "h100" and _usual(row)
    }
    lines = [
        "`droid-14b`, one guided robot, StepCache at 4 of 16 calls, H100s:",
        "",
        "| GPUs | `rules=` | observing | sampling | of it collectives | "
        "behind the gate, sent by each | peak memory of each |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for (rules, devices, program), row in rows.items():
        observing = rows.get((rules, devices, "observe"))
        if program != "sample" or observing is None:
            continue
        sent = sum(op["gib"] for op in row["collectives"]["behind the gate"].values())
        collective = row["floor_ms_by_kind"].get("collective", 0)
        peak = max(observing, row, key=lambda one: one["memory_gib"]["peak"])
        lines.append(
            f"| {devices} | {f'`{rules!r}`' if rules else '-'} | "
            f"{observing['floor_ms']:.1f} ms | {row['floor_ms']:.1f} ms | "
            f"{collective:.1f} ms | {sent:.2f} GiB | {_peak(peak)} |"
        )
    return "\n".join(lines)


def gpu_encoders_table(result: dict[str, Any]) -> str:
    """The encoders around the large models, beside a control step of these."""
    lines = [
        "One H100, bfloat16; the control step is one guided robot's, StepCache at 4 of "
        "16 calls:",
        "",
        "| encoder | | when | floor | of the control step's | peak memory |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in result["programs"].values():
        ask = row["ask"]
        if ask["model"] not in ENCODERS or "floor_ms" not in row:
            continue
        what, when = _ENCODING[ask["model"], ask["program"]]
        robot = "wan22-5b" if ask["model"] == "wan-vae-2.2" else "droid-14b"
        share = row["floor_ms"] / control_step_ms(result, robot)
        lines.append(
            f"| `{ask['model']}` | {what} | {when} | {row['floor_ms']:.1f} ms | "
            f"{share:.1%} | {_peak(row)} |"
        )
    return "\n".join(lines)


def gpu_films_table(result: dict[str, Any]) -> str:
    """Films of Wan, on one GPU and on eight."""
    lines = [
        "H100s, bfloat16, guided, a film at a time; on eight, `rules='branches'`:",
        "",
        "| film | GPUs | cache | calls | floor of a call | floor of the film | "
        "peak memory of each |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    rows = [r for r in result["programs"].values() if r["ask"]["model"] in FILMS]
    order = list(FILMS)
    rows.sort(key=lambda r: (order.index(r["ask"]["model"]), r["devices"], *_place(r)))
    decoded = {}
    for row in rows:
        ask = row["ask"]
        if "floor_ms" not in row:
            continue
        if ask["program"] == "decode":
            decoded[ask["model"]] = row
            continue
        model, steps = ask["model"], FILMS[ask["model"]][1]
        alone = ask["program"] == "expert"
        calls = steps / 2 if row["calls"] else steps
        # Half of the steps are its own; the other expert's are as many, and as long.
        film_ms = row["floor_ms"] * (2 if alone else 1)
        said = f"`{ask['cache']}`" + (", one expert waits" if alone else "")
        lines.append(
            f"| `{model}`, {FILMS[model][0]} | {row['devices']} | {said} | "
            f"{calls:.0f} of {steps} | {film_ms / calls / 1e3:.2f} s | "
            f"{film_ms / 1e3:.1f} s | {_peak(row)} |"
        )
    for model, row in decoded.items():
        lines.append(
            f"| `{model}`, the VAE's decoder | 1 | | | | "
            f"{row['floor_ms'] / 1e3:.1f} s | {_peak(row)} |"
        )
    return "\n".join(lines)


def _place(row: dict[str, Any]) -> tuple[bool, int]:
    """Of films of one model: both experts together first, by what caches keep."""
    return row["ask"]["program"] == "expert", _CACHES.index(row["ask"]["cache"])


def gpu_others_table(result: dict[str, Any], family: str) -> str:
    """Pictures of FLUX, or chunks of pi0's actions, on one GPU.

    Args:
        result: what `gpu_others.py` has written.
        family: what the models' names begin with.

    Returns:
        The table, as Markdown.
    """
    lines = [
        "One H100, bfloat16, one at a time; half of the steps run where a cache is "
        "named:",
        "",
        "| model | cache | steps that run | arithmetic | floor | peak memory |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name, row in result["programs"].items():
        model, _, _, cache, *_ = name.split()
        if model.startswith(family) and "floor_ms" in row:
            lines.append(
                f"| `{model}` | `{cache}` | {row['calls']:.0f} of {row['steps']} | "
                f"{row['tflop']:.1f} TFLOP | {row['floor_ms']:.1f} ms | {_peak(row)} |"
            )
    return "\n".join(lines)


def control_step_ms(result: dict[str, Any], robot: str) -> float:
    """The floor of a robot's control step on one H100: observing and sampling.

    Args:
        result: what `gpu_program.py` has written.
        robot: the model.

    Returns:
        Milliseconds, of a full window.
    """
    programs = result["programs"]
    names = "observe cudnn", "sample step_cache cudnn"
    return sum(programs[f"{robot} {name} on 1 h100"]["floor_ms"] for name in names)


def gpu_training_table(result: dict[str, Any]) -> str:
    """What training takes of each GPU."""
    lines = ["| | GPUs | peak memory of each |", "|---|--:|--:|"]
    for row in result["steps"].values():
        ask = row["ask"]
        how = f"`--lora {ask['lora']}`" if ask["lora"] else "`--full`"
        kernel = {"cudnn": "cuDNN", "xla": "XLA"}[ask["attention"]]
        lines.append(
            f"| {how}, attention by {kernel} | {row['devices']} | {_peak(row)} |"
        )
    return "\n".join(lines)


def _robots(result: dict[str, Any]) -> Iterable[Row]:
    found = result["programs"].values()
    return (r for r in found if r["ask"]["model"] in ROBOTS and "floor_ms" in r)


def _usual(row: Row) -> bool:
    """What a robot runs that has said nothing but its mesh."""
    ask = row["ask"]
    if ask["program"] == "sample" and ask["cache"] != "step_cache":
        return False
    usual = {"decide": "batch", "attention": "cudnn", "layers": "apart", "rows": 1}
    return all(ask[name] == x for name, x in usual.items())


def _said(row: Row) -> str:
    ask = row["ask"]
    words = [ask["model"], ask["program"]]
    words += [] if ask["program"] == "observe" else [f"`{ask['cache']}`"]
    words += ["each for itself"] if ask["decide"] == "sample" else []
    words += ["attention by XLA"] if ask["attention"] == "xla" else []
    words += ["layers stacked"] if ask["layers"] == "stacked" else []
    words += [f"{ask['rows']} robots"] if ask["rows"] > 1 else []
    words += [row["gpu"].upper()] if row["gpu"] != "h100" else []
    return ", ".join(words)


def _calls(row: Row) -> str:
    if row["ask"]["program"] == "observe":
        return ""
    return "16" if row["calls"] is None else f"{row['calls']:.0f} of 16"


def _peak(row: Row) -> str:
    return f"{row['memory_gib']['peak']:.1f} GiB"

"""This library beside PyTorch's caches: the same weights, one process each, one core.

    make peers    # in an environment of its own, with what can be installed of them

Each process times a bare call of one network, samples without a cache, and samples with
its caches; settings are such that all run the same steps (see `contract.py`). What is
not installed is left out and said so; what fails is a row with the error. Samples are
compared: without a cache all must agree.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import contract
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from report import device_name, print_table, write_json  # noqa: E402

from jax_stepcache.models.dit import state_dict_shapes  # noqa: E402
from jax_stepcache.paths import path_option  # noqa: E402

# A script, and what it needs to be installed.
PROCESSES: dict[str, tuple[str, ...]] = {
    "ours": (),
    "plain_torch": ("torch",),
    "with_diffusers": ("torch", "diffusers"),
    "with_cache_dit": ("torch", "diffusers", "cache_dit"),
}
# Float32 in another order of sums; a cache that is off by a step is far beyond it.
AGREE = 1e-3


def given() -> contract.Given:
    """Weights and noise from a seed, small enough that no sum overflows."""
    from ours import CONFIG

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    shapes = state_dict_shapes(CONFIG)
    weights = {
        name: np.float32(0.05) * draw(*shape)
        for name, shape in shapes.items()
        if name != "pos_embed"
    }
    side = contract.GRID * contract.PATCH
    sigmas = np.linspace(1, 0, contract.NUM_STEPS + 1)
    timesteps = (1000 * sigmas[:-1]).astype(np.float32)
    return contract.Given(
        weights, draw(1, side, side, contract.CHANNELS), sigmas, timesteps
    )


def told_by(script: str, folder: Path, repeats: int) -> dict[str, Any]:
    """What a process says of itself; or why there is none.

    Args:
        script: its name.
        folder: where `given` lies, and it writes.
        repeats: timed runs of each case.

    Returns:
        ``rows`` and ``versions``, or ``missing``; and ``samples``, arrays by row.
    """
    lacks = [
        name for name in PROCESSES[script] if importlib.util.find_spec(name) is None
    ]
    if lacks:
        return {"missing": f"{', '.join(lacks)}: not installed here"}
    path = folder / f"{script}.json"
    command = [sys.executable, str(HERE / f"{script}.py")]
    command += [str(folder / "given.npz"), str(path), "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not path.exists():
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        return {"missing": f"ended with {done.returncode}: {last}"}
    with np.load(path.with_suffix(".npz")) as samples:
        return {**json.loads(path.read_text()), "samples": dict(samples)}


def compared(told: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows of all processes, with how far each is from ours of the same case."""
    ours = told["ours"]["samples"]
    rows: dict[str, dict[str, Any]] = {}
    for script, one in told.items():
        for name, row in one.get("rows", {}).items():
            case, _, how = name.partition(", ")
            apart = None
            if name in one["samples"]:
                apart = float(np.abs(one["samples"][name] - ours[case]).max())
            label = f"{case}: {script.removeprefix('with_')}{how and f', {how}'}"
            rows[label] = {
                "case": case,
                "milliseconds": row.get("milliseconds"),
                "calls": row.get("calls"),
                "apart": apart,
                "failed": row.get("failed"),
            }
    order = {case: i for i, case in enumerate(contract.CASES)}
    return dict(sorted(rows.items(), key=lambda item: order[item[1]["case"]]))


def main() -> int:
    """Runs all processes, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description="Ours beside PyTorch's caches.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contract.write_given(folder / "given.npz", given())
        told = {
            script: told_by(script, folder, arguments.repeats) for script in PROCESSES
        }
    missing = {k: one["missing"] for k, one in told.items() if "missing" in one}
    for script, why in missing.items():
        print(f"{script} is left out: {why}")
    if "ours" in missing:
        return 1
    rows = compared(told)
    versions = {
        k: v for one in told.values() for k, v in one.get("versions", {}).items()
    }
    words = " ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{device_name()}, one core; {words}")
    print_table(rows)
    if arguments.json:
        write_json(
            arguments.json, {"rows": rows, "versions": versions, "missing": missing}
        )
    wrong = [
        name
        for name, row in rows.items()
        if row["case"] in ("call", "uncached") and (row["apart"] or 0) > AGREE
    ]
    for name in wrong:
        print(f"{name}: does not agree with ours; the figures mean nothing")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

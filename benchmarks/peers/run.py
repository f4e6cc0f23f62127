"""This library beside PyTorch's caches: the same weights, one process each, one core.

    make peers    # in environments of their own, with what can be installed of them

Each process times a bare call of one network, samples without a cache, and samples with
its caches (`contract.py`); and control steps of a DreamZero (`robot_contract.py`).
Settings are such that all run the same steps. What is not installed is left out and
said so; what fails is a row with the error. What comes out is compared: of equal work,
all must agree.
"""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import contract
import numpy as np
import ours
import ours_robot
import robot_contract

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from report import device_name, print_table, write_json  # noqa: E402

from jax_stepcache.models import dit, dreamzero  # noqa: E402
from jax_stepcache.paths import path_option  # noqa: E402


class Race(NamedTuple):
    """Processes that are given the same.

    Attributes:
        scripts: their names; the first one's answers are what others are held against.
        cases: in the order of the table.
        equal: cases in which all do the same work.
        given: draws what they are given.
    """

    scripts: tuple[str, ...]
    cases: tuple[str, ...]
    equal: tuple[str, ...]
    given: Callable[[], Any]


OMNI = "with_vllm_omni"
# Float32 in another order of sums; a cache that is off by a step is far beyond it.
AGREE = 1e-3


def sit_given() -> contract.Given:
    """Weights and noise from a seed, small enough that no sum overflows."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    shapes = dit.state_dict_shapes(ours.CONFIG)
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


def robot_given() -> robot_contract.Given:
    """The same of a DreamZero and a robot."""
    return robot_contract.drawn(dreamzero.state_dict_shapes(ours_robot.CONFIG))


RACES = {
    "SiT": Race(
        ("ours", "plain_torch", "with_diffusers", "with_cache_dit"),
        contract.CASES,
        ("call", "uncached", "step_cache"),
        sit_given,
    ),
    "DreamZero": Race(
        ("ours_robot", OMNI),
        robot_contract.CASES,
        robot_contract.CASES,
        robot_given,
    ),
}


def told_by(
    script: str, interpreter: str | None, folder: Path, repeats: int
) -> dict[str, Any]:
    """What a process says of itself; or why there is none.

    Args:
        script: its name.
        interpreter: the Python that runs it; None where there is none.
        folder: where `given.npz` lies, and it writes.
        repeats: timed runs of each case.

    Returns:
        ``rows`` and ``versions``, or ``missing``; and ``answers``, arrays by row.
    """
    if interpreter is None or shutil.which(interpreter) is None:
        return {"missing": "no environment for it: `make peers` makes one"}
    path = folder / f"{script}.json"
    command = [interpreter, str(HERE / f"{script}.py")]
    command += [str(folder / "given.npz"), str(path), "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not path.exists():
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        return {"missing": f"it ended with {done.returncode}: {last}"}
    with np.load(path.with_suffix(".npz")) as answers:
        return {**json.loads(path.read_text()), "answers": dict(answers)}


def raced(race: Race, omni: str | None, repeats: int) -> dict[str, dict[str, Any]]:
    """What each process of a race says, one after the other; see `told_by`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contract.write_given(folder / "given.npz", race.given())
        return {
            script: told_by(
                script, omni if script == OMNI else sys.executable, folder, repeats
            )
            for script in race.scripts
        }


def compared(race: Race, told: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows of all processes, with how far each is from ours of the same case."""
    own = told[race.scripts[0]].get("answers", {})
    rows: dict[str, dict[str, Any]] = {}
    for script, one in told.items():
        for name, row in one.get("rows", {}).items():
            case, _, how = name.partition(", ")
            apart = None
            if name in one["answers"] and case in own:
                apart = float(np.abs(one["answers"][name] - own[case]).max())
            who = script.removeprefix("with_").removesuffix("_robot")
            rows[f"{case}: {who}{how and f', {how}'}"] = {
                "case": case,
                "milliseconds": row.get("milliseconds"),
                "calls": row.get("calls"),
                "apart": apart,
                "failed": row.get("failed"),
            }
    return dict(
        sorted(rows.items(), key=lambda item: race.cases.index(item[1]["case"]))
    )


def main() -> int:
    """Runs all processes, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(description="Ours beside PyTorch's caches.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    parser.add_argument("--omni", help="the Python that has vLLM-Omni installed")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"races": {}, "versions": {}, "missing": {}}
    wrong: list[str] = []
    print(f"{device_name()}, one core")
    for name, race in RACES.items():
        told = raced(race, arguments.omni, arguments.repeats)
        rows = compared(race, told)
        result["races"][name] = rows
        for script, one in told.items():
            result["versions"] |= one.get("versions", {})
            if "missing" in one:
                result["missing"][script] = one["missing"]
                print(f"{script} is left out: {one['missing']}")
        print(f"\n{name}, milliseconds of the processor:")
        if rows:
            print_table(rows)
        wrong += [
            row
            for row, said in rows.items()
            if said["case"] in race.equal and (said["apart"] or 0) > AGREE
        ]
    for row in wrong:
        print(f"{row}: what came out is not what came out of ours")
    if arguments.json:
        write_json(arguments.json, result)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

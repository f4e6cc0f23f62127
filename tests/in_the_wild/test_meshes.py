"""Several devices: meshes with axes of every kind, `jax.shard_map`, arrays elsewhere.

The cases are in `on_devices`, which runs in a process that has four devices.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .on_devices import CASES

QUICK = [
    "elsewhere",
    "mesh explicit cache_dit True batch",
    "shard_map auto tea_cache True batch",
]


def run(names):
    """The last word on each case, and what else was said."""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.on_devices", *names],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if ": " in line]
    return dict(line.rsplit(": ", 1) for line in said), done.stderr


def check(names):
    verdicts, errors = run(names)
    assert verdicts == dict.fromkeys(names, "ok"), errors[-5000:]


def test_several_devices_give_what_one_does():
    """A few cases of each kind, in one process: starting it takes most of the time."""
    check(QUICK)


GROUPS = {
    "meshes": [name for name in CASES if name.startswith("mesh ")],
    "shard_map": [name for name in CASES if name.startswith("shard_map ")],
    "networks with shardings": [name for name in CASES if name.startswith("own ")],
    "contexts": ["context explicit", "context auto", "load explicit", "load auto"],
    "models": ["tabletop", "dit"],
    "sessions": ["session explicit", "session auto"],
    "the rest": ["tensor parallel", "partly manual", "calibrated"],
}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_kind_of_mesh(group):
    """All caches, both who decide, guided or not; contexts, models and sessions."""
    check([name for name in GROUPS[group] if name not in QUICK])


def test_every_case_is_run():
    """None was given a name that no group has."""
    assert {name for group in GROUPS.values() for name in group} | set(QUICK) == set(
        CASES
    )

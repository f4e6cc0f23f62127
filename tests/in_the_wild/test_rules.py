"""A mesh by names: rules from logical axes, presets, and one decision for all devices.

The cases are in `on_meshes`, which runs in a process that has eight devices.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .on_meshes import CASES

QUICK = [
    "refused",
    "own model",
    "preset dit tensor",
    "decisions tea_cache batch",
    "decisions step_cache sample",
]


def check(names):
    """All cases go well, each said in a line."""
    flags = os.environ.get("XLA_FLAGS", "")
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.on_meshes", *names],
        cwd=Path(__file__).parents[2],
        env=os.environ
        | {
            "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = dict(
        line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line
    )
    assert verdicts == dict.fromkeys(names, "ok"), done.stderr[-5000:]


def test_rules_are_followed():
    """Bundled models and one's own, errors, and decisions: a case of each kind."""
    check(QUICK)


GROUPS = {
    kind: [name for name in CASES if name.startswith(kind) and name not in QUICK]
    for kind in ("preset", "robots", "decisions")
} | {"slots": ["slots", "separate robots"]}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_rule(group):
    """Each preset with each model, and each kind of cache with rows over devices."""
    check(GROUPS[group])


@pytest.mark.slow
def test_a_folder_is_read_by_rules(tmp_path):
    """Weights from a folder lie as those that are moved, and are the same."""
    check([f"saved {tmp_path / 'folder'}"])

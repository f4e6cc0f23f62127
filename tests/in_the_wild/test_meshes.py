"""Several devices: meshes with axes of every kind, `jax.shard_map`, arrays elsewhere.

The cases are in `on_devices`, which runs in a process that has four devices.
"""

import pytest

from .devices import run_cases
from .on_devices import CASES

QUICK = [
    "elsewhere",
    "refused",
    "mesh explicit cache_dit True batch",
    "shard_map auto tea_cache True batch",
]


def check(names):
    verdicts, errors = run_cases("on_devices", names, 4)
    assert verdicts == dict.fromkeys(names, "ok"), errors[-5000:]


@pytest.mark.slow
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

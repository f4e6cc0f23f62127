"""A mesh by names: rules from logical axes, presets, and one decision for all devices.

The cases are in `on_meshes`, which runs in a process that has eight devices.
"""

import pytest

from .devices import run_cases
from .on_meshes import CASES

QUICK = ["refused", "own model", "decisions tea_cache batch"]


def check(names):
    """All cases go well, each said in a line."""
    verdicts, errors = run_cases("on_meshes", names, 8)
    assert verdicts == dict.fromkeys(names, "ok"), errors[-5000:]


def test_rules_are_followed():
    """Bundled models and one's own, errors, and decisions: a case of each kind."""
    check(QUICK)


GROUPS = {
    kind: [name for name in CASES if name.startswith(kind) and name not in QUICK]
    for kind in ("preset", "robots", "films", "decisions")
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

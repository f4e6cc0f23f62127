"""Several processes, as on a cluster; the cases are in `on_processes`."""

import pytest

from .on_processes import CASES
from .processes import COUNT, run_on_processes

QUICK = ["loading", "keys"]


def check(names, seconds):
    """All cases go well in all processes."""
    verdicts, said = run_on_processes("on_processes", names, seconds)
    assert verdicts == [dict.fromkeys(names, "ok")] * COUNT, said


@pytest.mark.slow
def test_two_processes_read_a_batch_together():
    """A data set is read in the order of one process, by each process its rows; keys
    come to all devices, and back."""
    check(QUICK, 120)


@pytest.mark.slow
def test_two_processes_do_what_one_does():
    """Sampling, slots, control, checkpoints and training; errors are everybody's."""
    check([name for name in CASES if name not in QUICK], 400)

"""Text and image encoders on several devices; cases are in `encoders_on_devices`."""

import pytest

from .devices import run_cases
from .encoders_on_devices import CASES


@pytest.mark.slow
def test_several_devices_give_what_one_does():
    """Rows and heads over axes of both kinds, loaded from files with rules."""
    verdicts, errors = run_cases("encoders_on_devices", list(CASES), 4)
    assert verdicts == dict.fromkeys(CASES, "ok"), errors[-5000:]

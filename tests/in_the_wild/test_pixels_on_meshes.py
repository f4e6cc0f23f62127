"""DreamZero whole on several devices; cases are in `pixels_on_devices`."""

import pytest

from .devices import run_cases
from .pixels_on_devices import CASES


@pytest.mark.slow
def test_several_devices_give_what_one_does():
    """All networks by rules, on explicit axes; and each encoder elsewhere."""
    pytest.importorskip("tokenizers")
    pytest.importorskip("ftfy")
    verdicts, errors = run_cases("pixels_on_devices", list(CASES), 4)
    assert verdicts == dict.fromkeys(CASES, "ok"), errors[-5000:]

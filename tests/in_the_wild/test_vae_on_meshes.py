"""Wan's VAEs on several devices; the cases are in `vae_on_devices`."""

import pytest

from .devices import run_cases
from .vae_on_devices import CASES


@pytest.mark.slow
def test_several_devices_give_what_one_does():
    """Videos by rows, weights whole or in parts, axes of both kinds; streams, tiles."""
    verdicts, errors = run_cases("vae_on_devices", list(CASES), 4)
    assert verdicts == dict.fromkeys(CASES, "ok"), errors[-5000:]

"""What ``jax-stepcache`` answers without running anything."""

import re
import subprocess
import sys

import pytest

import jax_stepcache
from jax_stepcache.backends import selector
from jax_stepcache.calibration.thresholds import SWEPT
from jax_stepcache.cli.main import main
from jax_stepcache.cli.parser import NUMBERS, THRESHOLDS
from jax_stepcache.models.dreamzero.training.finetune import FinetuneSettings
from jax_stepcache.policy.forecasts import named

# Run with the options of one command line; afterwards the modules are looked at.
_WATCH = """
import runpy, sys
sys.argv = ["jax-stepcache", *sys.argv[1:]]
try:
    runpy.run_module("jax_stepcache", run_name="__main__")
except SystemExit as ended:
    status = ended.code or 0
sys.stderr.write(" ".join({"jax", "flax", "numpy"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["sample", "--help"], ["convert", "--help"]],
    ids=" ".join,
)
def test_help_and_version_need_no_jax(arguments):
    """They are there at once: neither JAX nor Flax, nor even NumPy, is imported."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "jax-stepcache" in done.stdout
    assert done.stderr == ""


def test_the_version_is_the_librarys(capsys):
    """`--version` prints it behind the command's name and ends well."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"jax-stepcache {jax_stepcache.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smaple", "--steps", "4"], "Did you mean 'sample'?"),
        (["xyz"], "invalid choice: 'xyz' (choose from "),
        ([], "the following arguments are required: COMMAND"),
        (["sample", "--stepz", "4"], "--stepz 4. Did you mean '--steps'?"),
        (["sample", "--cache-confg={}"], "Did you mean '--cache-config'?"),
        (["calibrate", "--calls", "4", "--guidence", "2"], "'--guidance-scale'?"),
        (["sample", "4"], "unrecognized arguments: 4\n"),
        (["sample", "--seed", str(2**31)], f"{2**31} is not from 0 to {2**31 - 1}"),
        (["sample", "--seed", "one"], "--seed: invalid seed value: 'one'"),
        (["info"], "the following arguments are required: NAME|PATH"),
    ],
)
def test_a_wrong_command_line(arguments, words, capsys):
    """It ends with status 2 and argparse's words; an unknown name with the nearest.

    No other mistake is answered with the name of a command.
    """
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert ("mean 'sample'" in told) == (arguments[:1] == ["smaple"])


def test_the_help_names_what_can_be_calibrated():
    """Its list stands apart from the ranges, which are arrays, and must not differ."""
    assert tuple(SWEPT) == THRESHOLDS


def test_the_help_names_every_cache_and_forecast(capsys):
    """Lists that stand in the help alone would fall behind."""
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    told = set(re.findall(r"\w+", capsys.readouterr().out))
    aliases = {"stepcache", "step_cache_dit"}
    assert set(selector._BACKENDS) - aliases <= told
    assert set(named._NAMED) <= told


def test_fine_tuning_takes_every_setting_by_option():
    """A setting without an option could be reached from Python alone."""
    options = {name.replace("-", "_") for name, *_ in NUMBERS}
    assert options | {"lora"} == set(FinetuneSettings._fields)

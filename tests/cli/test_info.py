"""``jax-stepcache info`` counts without weights."""

from __future__ import annotations

import pytest

from jax_stepcache.cli.gpus import RULES
from jax_stepcache.cli.info import quantity
from jax_stepcache.cli.main import main
from jax_stepcache.meshes.presets import PRESETS

from ..checkpoints.original import write_original


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("droid-14b", ["16,484,292,448", "1,317", "33.0 GB", "10.1 GB", "55.4 TFLOP"]),
        ("wan22-5b", ["5,606,692,832", "997", "11.2 GB", "258.0 MB", "1.1 TFLOP"]),
        ("tabletop", ["parameters", "KV cache", "FLOP"]),
    ],
)
def test_names(name, numbers, capsys):
    """Parameters, tensors, bytes, KV cache and FLOPs of what has a name."""
    assert main(["info", name]) == 0
    printed = capsys.readouterr().out
    assert all(number in printed for number in numbers)


def test_a_path(tmp_path, capsys):
    """The same of a checkpoint, in the dtype that it has."""
    assert main(["info", str(write_original(tmp_path / "small"))]) == 0
    assert "weights in bfloat16" in capsys.readouterr().out


def test_unknown_names(capsys):
    """The nearest name is told."""
    assert main(["info", "droid-41b"]) == 1
    assert "Did you mean 'droid-14b'?" in capsys.readouterr().err


def _together(printed):
    (line,) = [x for x in printed.splitlines() if x.strip().startswith("together")]
    return float(line.split()[-2])


def test_whether_it_fits(capsys):
    """Weights, KV cache and a step's activations, from shapes alone, a device."""
    assert main(["info", "droid-14b", "--gpu", "h100"]) == 0
    printed = capsys.readouterr().out
    # What XLA makes of it: benchmarks/results/gpu_program.json.
    assert _together(printed) == pytest.approx(41.5, rel=0.1)
    assert "fits: " in printed
    assert main(["info", "droid-14b", "--gpu", "h100", "--devices", "2"]) == 0
    assert _together(capsys.readouterr().out) == pytest.approx(41.5 / 2, rel=0.15)
    assert main(["info", "droid-14b", "--gpu", "rtx4090"]) == 0
    assert "does not fit" in capsys.readouterr().out
    assert main(["info", "droid-14b", "--gpu", "h100", "--rows", "3"]) == 0
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in capsys.readouterr().out
    assert main(["info", "dit", "--gpu", "h100"]) == 0
    assert "weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rules", "devices", "peak"),
    # What XLA makes of it: benchmarks/results/gpu_program.json.
    [("branches", 2, 36.1), ("tensor", 2, 21.1), ("branches", 8, 9.6)],
)
def test_rules_say_how_several_gpus_share(capsys, rules, devices, peak):
    """Weights and sessions as the preset has them; which cut it is is told."""
    asked = ["--gpu", "h100", "--devices", str(devices), "--rules", rules]
    assert main(["info", "droid-14b", *asked]) == 0
    printed = capsys.readouterr().out
    assert f"rules='{rules}' on a mesh of" in printed
    assert _together(printed) == pytest.approx(peak, rel=0.15)


def test_encoders_are_counted_as_they_are_held(capsys):
    """UMT5 in bfloat16; nothing is sampled. Rules that cut all leave a half of it."""
    assert main(["info", "umt5-xxl", "--gpu", "h100"]) == 0
    printed = capsys.readouterr().out
    assert "memory of a GPU:" in printed
    assert _together(printed) == pytest.approx(5_680_910_336 * 2 / 2**30, rel=1e-3)
    asked = ["--gpu", "h100", "--devices", "2", "--rules", "fsdp"]
    assert main(["info", "umt5-xxl", *asked]) == 0
    assert _together(capsys.readouterr().out) == pytest.approx(10.58 / 2, rel=0.01)


def test_the_cut_without_rules_is_told(capsys):
    """On several GPUs it is never left to guess; on one there is none."""
    assert main(["info", "droid-14b", "--gpu", "h100", "--devices", "2"]) == 0
    assert "along its longest axis" in capsys.readouterr().out
    assert main(["info", "dit", "--gpu", "h100"]) == 0
    assert "axis" not in capsys.readouterr().out


def test_rules_that_do_not_fit(capsys):
    """An odd number has no two groups; rows that the devices do not divide."""
    asked = ["info", "droid-14b", "--gpu", "h100", "--devices", "3"]
    assert main([*asked, "--rules", "branches"]) == 1
    assert "take an even number" in capsys.readouterr().err
    assert main([*asked, "--rules", "data"]) == 1
    assert "the axis 'batch' of the session has 1" in capsys.readouterr().err
    assert set(RULES) == set(PRESETS)


def test_numbers_of_devices_that_cannot_be(capsys):
    """One line, as for all bad input."""
    assert main(["info", "dit", "--gpu", "h100", "--devices", "0"]) == 1
    said = capsys.readouterr()
    assert "--devices is 0" in said.err
    assert not said.out
    assert main(["info", "dit", "--rules", "data"]) == 1
    assert "with --gpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "B", "0.0 B"),
        (999, "B", "999.0 B"),
        (1000, "B", "1.0 kB"),
        (5_800_000_000_000, "FLOP", "5.8 TFLOP"),
        (1317, "", "1,317"),
    ],
)
def test_quantities(number, unit, text):
    """Things are counted to the last digit, amounts are rounded."""
    assert quantity(number, unit) == text


def test_guidance_is_said_where_there_is_some(capsys):
    """A pi0 has none, and DreamZero is sampled with it."""
    for name, guided in (("pi0-droid", False), ("droid-14b", True)):
        assert main(["info", name, "--gpu", "h100"]) == 0
        assert ("sampling 1 with guidance" in capsys.readouterr().out) == guided


def _memory(capsys, *asked):
    """GiB by what they are for, and the answer."""
    assert main(["info", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.rsplit(maxsplit=2) for line in lines if line.endswith(" GiB")]
    return {name.strip(): float(size) for name, size, _ in rows}, lines[-1]


def test_all_networks_of_a_pipeline_are_counted(capsys):
    """A picture's transformer alone fits 24 GiB, and it is not made by that alone."""
    rows, answer = _memory(capsys, "flux.1-dev", "--gpu", "rtx4090")
    # Parameters that were released, in bfloat16.
    assert rows["text_encoder_2"] == pytest.approx(4_762_310_656 * 2 / 2**30, abs=0.01)
    assert rows["text_encoder"] == pytest.approx(123_060_480 * 2 / 2**30, abs=0.01)
    assert rows["vae"] == pytest.approx(83_819_683 * 2 / 2**30, abs=0.01)
    assert rows["together"] == pytest.approx(
        sum(rows.values()) - rows["together"], abs=0.05
    )
    assert answer.startswith("does not fit: 31.7 of the 24 GiB")
    rows, _ = _memory(capsys, "wan2.1-i2v-14b-480p", "--gpu", "h100")
    assert {"text_encoder", "image_encoder", "vae"} < set(rows)
    rows, _ = _memory(capsys, "wan2.2-ti2v-5b", "--gpu", "h100")
    assert "image_encoder" not in rows
    assert rows["vae"] > 1  # The VAE of 2.2 is five times that of 2.1.
    rows, _ = _memory(capsys, "film", "--gpu", "h100")
    assert "vae" not in rows


def test_what_waits_is_there_only_while_it_runs(capsys):
    """T5 beside the transformer is the most, until the transformer waits as well."""
    text = ("--gpu", "rtx4090", "--offload", "text_encoder")
    rows, _ = _memory(capsys, "flux.1-dev", *text)
    peak = rows["weights"] + rows["vae"] + rows["text_encoder_2, while it runs"]
    assert rows["together, at most"] == pytest.approx(peak, abs=0.02)
    rows, answer = _memory(capsys, "flux.1-dev", *text, "--offload", "transformer")
    assert answer.startswith("fits: ")
    assert rows["together, at most"] < rows["weights"] + 1
    both, _ = _memory(capsys, "wan2.2-t2v-a14b", "--gpu", "h100")
    one, _ = _memory(capsys, "wan2.2-t2v-a14b", "--gpu", "h100", "--offload", "experts")
    assert one["weights"] == pytest.approx(both["weights"] / 2, abs=0.01)


def test_what_cannot_wait(capsys):
    """Names are checked before anything is printed; of robots no encoders count."""
    for asked, said in (
        (["flux.1-dev", "--gpu", "h100", "--offload", "t5"], "part to offload 't5'"),
        (
            ["wan2.1-t2v-14b", "--gpu", "h100", "--offload", "experts"],
            "one transformer",
        ),
        (
            ["droid-14b", "--gpu", "h100", "--offload", "vae"],
            "nothing that could wait is counted",
        ),
        (["flux.1-dev", "--offload", "text_encoder"], "name one with --gpu"),
    ):
        assert main(["info", *asked]) == 1
        printed = capsys.readouterr()
        assert said in printed.err
        assert not printed.out


@pytest.mark.parametrize("more", [["--devices", "8"], ["--rows", "2"]])
def test_what_is_of_gpus_wants_one(more, capsys):
    """An option that would change nothing is refused."""
    assert main(["info", "tabletop", *more]) == 1
    assert "--gpu" in capsys.readouterr().err

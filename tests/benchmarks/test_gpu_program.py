"""What is read off a program for a GPU, and one that is compiled without a GPU."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"

# A loop of 16 turns around a gate; behind it a loop over 4 layers that copies a slice
# of stacked weights, multiplies by it and tells other devices; and some beside them.
PROGRAM = (ROOT / "tests" / "data" / "gate_and_layers.hlo").read_text()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's modules; its neighbours are found as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("asks", "cases", "hlo", "kernels", "reading", "turns")
    return SimpleNamespace(
        **{name: importlib.import_module(f"ahead.{name}") for name in names}
    )


MADE_OF = SimpleNamespace(
    depth=4,
    is_gated=True,
    stacked={(8, 8)},
    cached={(4, 64, 8)},
    scores=(16, 80),
)


def test_control_flow_and_what_the_host_reads(ahead: Any) -> None:
    """Rule: loops of known length cost the host nothing, a gate one predicate."""
    module = ahead.hlo.parse(PROGRAM)
    found = ahead.reading.control_flow(module)
    assert found["loops"] == [4, 16]
    assert found["conditionals"] == 1
    assert found["host_reads"] == {"step": 1}
    assert found["callbacks"] == 0
    unknown = PROGRAM.replace('backend_config={"known_trip_count":{"n":"16"}}', "x=1")
    found = ahead.reading.control_flow(ahead.hlo.parse(unknown))
    assert found["loops"] == [None, 4]
    assert found["host_reads"] == {"step": 1, "turn of a loop": 1}


def test_what_is_copied(ahead: Any) -> None:
    """Rule: slices of weights, biases as large as logits, copies of the KV cache."""
    module = ahead.hlo.parse(PROGRAM)
    kernels = list(ahead.kernels.kernels(module, 3))
    found = ahead.reading.traffic(module, kernels, MADE_OF, 3)
    # 4 layers of 8 x 8 numbers of 2 bytes, at each of the 3 calls.
    a_call = 4 * 8 * 8 * 2 / 2**30
    assert found["gib_of_weights_copied_a_call"] == round(a_call, 3)
    slices = [k for k in kernels if k.kind == "slice copy"]
    assert sum(k.times * k.instruction.bytes for k in slices) == 3 * 4 * 8 * 8 * 2
    assert found["bias_and_logits_buffers"] == {"bias": 1}
    # What is written in place is none; the copy is.
    assert found["kv_cache_copies"] == 1


def test_arithmetic_and_traffic_of_kernels(ahead: Any) -> None:
    """Rule: a branch counts as often as it is taken; a slice or an update is what is
    read or written of what it is in."""
    module = ahead.hlo.parse(PROGRAM)
    by_name = {k.instruction.name: k for k in ahead.kernels.kernels(module, 3)}
    product = by_name["gemm_fusion.1"]
    assert (product.kind, product.times, product.flops) == (
        "product",
        12,
        2 * 16 * 8 * 8,
    )
    assert product.bytes == 2 * (16 * 8 + 8 * 8 + 16 * 8)
    assert by_name["loop_dynamic_slice_fusion.1"].bytes == 2 * 8 * 8 * 2 + 4
    assert by_name["loop_dynamic_update_slice_fusion.1"].bytes == 2 * 4 * 8 * 2
    assert by_name["copy.1"].times == 13
    sent = by_name["all-reduce.1"]
    assert sent.gated
    assert sent.sent == 2 * 16 * 8 * 2 * 3 / 4
    peak = ahead.kernels.PEAKS["h100"]
    assert product.seconds(peak) == 12 * max(
        product.flops / peak.flops, product.bytes / peak.bytes
    )
    told = ahead.reading.collectives(by_name.values())["collectives"]
    gib = round(12 * sent.sent / 2**30, 5)
    assert told["behind the gate"] == {"all-reduce": {"times": 12, "gib": gib}}
    assert told["outside"] == {}
    assert ahead.turns.host_reads(module, 3) == 16


# A loop, as XLA writes it: a computation is one loop's. Of none the turns are known.
LOOP = """
%going_NAME (s: f32[4]) -> pred[] {
  %s = f32[4]{0} parameter(0)
  ROOT %more = pred[] fusion(%s), kind=kLoop, calls=%asked
}

%NAME (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  BODY
}
"""


def loop(name: str, op: str, inner: str = "") -> str:
    """A loop that does something, and then another loop."""
    body = f"ROOT %did = f32[4]{{0}} {op}"
    if inner:
        body = f"%first = f32[4]{{0}} {op}\n  ROOT %all = {goes(inner, '%first')}"
    return LOOP.replace("NAME", name).replace("BODY", body)


def goes(name: str, given: str) -> str:
    """The call of a loop."""
    return f"f32[4]{{0}} while({given}), condition=%going_{name}, body=%{name}"


@pytest.mark.parametrize("queue", [False, True])
def test_turns_of_loops_that_tell_none(ahead: Any, queue: bool) -> None:
    """Rule: the loop with most loops in it goes over network calls; slots walk on in
    it, as far as they have to without being asked; before it they take their requests,
    one a turn, if there is a queue. The host reads all their questions."""
    parts = ["HloModule slots\n"]
    for walk, take in (("walk", "take"), ("walk_on", "take_more")):
        parts += [loop(take, "gather(%s)")] if queue else []
        parts += [loop(walk, "copy(%s)", take if queue else "")]
    parts += [loop("call", "dot(%s)", "walk_on")]
    begun = f"%begun = {goes('walk', '%s')}\n  ROOT %y = {goes('call', '%begun')}"
    entry = LOOP[LOOP.index("%NAME (") :].replace("%NAME", "ENTRY %main")
    module = ahead.hlo.parse("".join(parts) + entry.replace("BODY", begun))
    times: dict[str, list[tuple[float, bool]]] = {}
    for _, one, often, gated in ahead.turns.running(module, 4.0, 3):
        times.setdefault(one.op, []).append((often, gated))
    assert times["dot"] == [(4, True)]
    # Who has a queue is asked once more; nobody takes anything later.
    assert sorted(times["copy"]) == [(0, False), (float(queue), False)]
    assert sorted(times.get("gather", [])) == [(0, False), (3, False)][: 2 * queue]
    # Calls: 4 and 1; walking on: at each of them, and before.
    reads = 5 + 4 + 1
    # One turn of the first of these loops, in which 3 requests are taken.
    assert ahead.turns.host_reads(module, 4.0, 3) == reads + queue * (1 + 3 + 1)


EXPERTS = """HloModule experts

%high (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %did = f32[4]{0} dot(%x)
}

%kept (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %did = f32[4]{0} copy(%x)
}

%network (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %asks = pred[] fusion(%x), kind=kLoop, calls=%asked
  ROOT %some = f32[4]{0} conditional(%asks, %x, %x), true_computation=%high, false_computation=%kept
}

%going (s: f32[4]) -> pred[] {
  %s = f32[4]{0} parameter(0)
  ROOT %more = pred[] fusion(%s), kind=kLoop, calls=%asked
}

%step (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  %runs = pred[] fusion(%s), kind=kLoop, calls=%asked
  ROOT %x = f32[4]{0} conditional(%runs, %s, %s), true_computation=%network, false_computation=%kept
}

ENTRY %main (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  ROOT %y = f32[4]{0} while(%s), condition=%going, body=%step, backend_config={"known_trip_count":{"n":"40"}}
}
"""  # noqa: E501


def test_an_expert_has_its_share_of_the_calls(ahead: Any) -> None:
    """Rule: of 10 calls of 40 steps each of two experts has 5, behind the gate; without
    a gate, half of the steps. The host reads one predicate a step, and one a call."""
    module = ahead.hlo.parse(EXPERTS)

    def dots(module: Any, calls: float | None) -> list[tuple[float, bool]]:
        every = ahead.turns.running(module, calls, 1, 2)
        return [(often, gated) for _, one, often, gated in every if one.op == "dot"]

    assert dots(module, 10.0) == [(5, True)]
    assert ahead.turns.host_reads(module, 10.0, 1, 2) == 40 + 10
    plain = EXPERTS.replace("true_computation=%network", "true_computation=%high")
    assert dots(ahead.hlo.parse(plain), None) == [(20, False)]


ATTENTION = """HloModule attention

ENTRY %main (q: bf16[2,8,4,16], k: bf16[2,40,4,16], v: bf16[2,40,4,16]) -> bf16[1] {
  %q = bf16[2,8,4,16]{3,2,1,0} parameter(0)
  %k = bf16[2,40,4,16]{3,2,1,0} parameter(1)
  %v = bf16[2,40,4,16]{3,2,1,0} parameter(2)
  ROOT %attend = (bf16[2,4,8,16]{3,1,2,0}, f32[2,4,8]{2,1,0}) custom-call(%q, %k, %v), custom_call_target="__cudnn$fmhaSoftmax"
}
"""  # noqa: E501


def test_keys_beyond_a_length_are_not_computed(ahead: Any) -> None:
    """Rule: of the keys of a cache, and of no others, the share that is seen counts."""
    module = ahead.hlo.parse(ATTENTION)
    (full,) = ahead.kernels.kernels(module, None)
    (half,) = ahead.kernels.kernels(module, None, {40: 0.5})
    (others,) = ahead.kernels.kernels(module, None, {8: 0.5})
    assert full.flops == 4 * 2 * 4 * 8 * 40 * 16
    assert half.flops == full.flops / 2
    assert full.bytes - half.bytes == 2 * 40 * 4 * 16 * 2
    assert others == full


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("replica_groups={{0,1},{2,3}}", 2),
        ("replica_groups=[2,4]<=[8]", 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", 4),
        ("source_target_pairs={{0,1},{1,0}}", 2),
    ],
)
def test_groups_of_devices(ahead: Any, text: str, count: int) -> None:
    """Rule: each of HLO's spellings of who takes part is understood, or an error."""
    assert ahead.kernels.group_size(text) == count
    with pytest.raises(ValueError, match="no replica groups"):
        ahead.kernels.group_size("channel_id=1")


def test_text_that_is_no_program(ahead: Any) -> None:
    """Rule: an error, and not a program of nothing."""
    with pytest.raises(ValueError, match="no HLO text"):
        ahead.hlo.parse("nothing")


def _plugin() -> bool:
    try:
        return importlib.util.find_spec("jax_plugins.xla_cuda12") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(
    not _plugin(),
    reason="no CUDA 12 plugin of JAX: make gpu-program-small has one",
)
def test_sampling_compiles_for_an_h100(tmp_path: Path) -> None:
    """Rule: one conditional, loops of known length, one predicate a step, no callback;
    no copy of a layer's weights, where these are apart; on two GPUs by guidance
    branches the network's rows are exchanged behind the gate, and one number beside it
    at each step."""
    alone = _compiled(tmp_path, "tabletop", "1")
    spread = _compiled(tmp_path, "tabletop", "2", "--rules", "branches")
    for found in (alone, spread):
        assert found["conditionals"] == 1
        assert None not in found["loops"]
        assert 16 in found["loops"]
        assert found["host_reads"] == {"step": 1}
        assert found["host_reads_a_generation"] == 16
        assert found["callbacks"] == 0
        assert found["gib_of_weights_copied_a_call"] == 0
        assert found["kernels_per_layer"] > 0
        assert found["floor_ms"] > 0
    assert alone["collectives"] == {"behind the gate": {}, "outside": {}}
    assert spread["mesh"] == {"branch": 2}
    behind, outside = spread["collectives"].values()
    # Rows go to their branches and come back, and a sum says how far apart the answers
    # are: nothing of every layer, of which there are four.
    calls = spread["calls"]
    assert 0 < behind["all-reduce"]["times"] <= calls
    assert "all-gather" not in behind
    assert sum(op["times"] for op in behind.values()) < 2 * 4 * calls
    # Whether all numbers are finite, at each step; and the noise, once.
    assert outside["all-reduce"]["times"] <= 16 + 1


@pytest.mark.skipif(
    not _plugin(),
    reason="no CUDA 12 plugin of JAX: make gpu-program-small has one",
)
def test_what_does_not_fit_is_a_row(tmp_path: Path) -> None:
    """Rule: what the library refuses is written down in its words; the rest goes on."""
    found = _compiled(tmp_path, "dit", "8", "--rules", "tensor")
    assert "'heads'" in found["refused"]
    assert "floor_ms" not in found


@pytest.mark.skipif(
    not _plugin(),
    reason="no CUDA 12 plugin of JAX: make gpu-program-small has one",
)
def test_slots_ask_no_more_than_sampling(tmp_path: Path) -> None:
    """Rule: at most a predicate a step, where there are as many requests as slots."""
    found = _compiled(tmp_path, "dit", "1", "--rows", "2", program="slots")
    assert found["host_reads_a_generation"] <= 16
    assert found["conditionals"] == found["callbacks"] == 0


@pytest.mark.skipif(
    not _plugin(),
    reason="no CUDA 12 plugin of JAX: make gpu-program-small has one",
)
def test_an_encoder_compiles_for_an_h100(tmp_path: Path) -> None:
    """Rule: one program at its released size, of which the host has nothing to do."""
    found = _compiled(tmp_path, "clip-vit-h-14", "1", program="encode")
    assert found["memory_gib"]["arguments"] > 1  # 0.6 G parameters in bfloat16.
    assert found["conditionals"] == found["host_reads_a_generation"] == 0
    assert 0.3 < found["tflop"] < 0.4  # 324 GFLOP of products, by `info`.
    assert found["floor_ms"] > 0


def test_a_program_that_a_model_has_not(ahead: Any, capsys: Any) -> None:
    """Rule: an encoder is not sampled, a model not decoded."""
    program = importlib.import_module("gpu_program")
    for model, asked in (("umt5-xxl", "sample"), ("dit", "decode")):
        with pytest.raises(SystemExit):
            program.main(["--models", model, "--program", asked])
        assert f"--program {asked} is none of ['{model}']" in capsys.readouterr().err


def _compiled(
    folder: Path, model: str, devices: str, *more: str, program: str = "sample"
) -> dict[str, Any]:
    out = folder / "out.json"
    command = [sys.executable, str(FOLDER / "gpu_program.py"), "--json", str(out)]
    command += ["--program", program, "--models", model, "--caches", "step_cache"]
    subprocess.run([*command, "--devices", devices, *more], check=True, cwd=folder)
    (found,) = json.loads(out.read_text())["programs"].values()
    return found


def test_encoding_what_is_observed_is_a_small_part_of_a_control_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule: what the encoders do at a message, also where a window begins, is at most
    15 % of the control step's floor, by the committed figures."""
    monkeypatch.syspath_prepend(str(FOLDER))
    tables = importlib.import_module("gpu_tables")
    result = json.loads((FOLDER / "results" / "gpu_program.json").read_text())

    def floor(name: str) -> float:
        return result["programs"][f"{name} on 1 h100"]["floor_ms"]

    clip = floor("clip-vit-h-14 encode")
    for robot, vae in (("droid-14b", "2.1"), ("wan22-5b", "2.2")):
        step = tables.control_step_ms(result, robot)
        assert floor(f"wan-vae-{vae} encode") <= 0.15 * step
        assert floor(f"wan-vae-{vae} begin") + clip <= 0.15 * step


def test_films_fit_and_nothing_is_copied(ahead: Any) -> None:
    """Rule: by the committed figures a film's program copies no weights, keeps no array
    of queries by keys, has loops of known turns, and fits 80 GiB; so do both experts
    of A14B, and one alone takes the room of one less."""
    result = json.loads((FOLDER / "results" / "gpu_program.json").read_text())
    asks = ahead.asks
    films = {
        name: row
        for name, row in result["programs"].items()
        if row["ask"]["model"] in asks.FILMS
    }
    for model in asks.FILMS:
        assert any(name.startswith(f"{model} sample none on 1 ") for name in films)
    for name, row in films.items():
        assert row["gib_of_weights_copied_a_call"] == 0, name
        assert row["bias_and_logits_buffers"] == {}, name
        assert None not in row["loops"], name
        assert row["memory_gib"]["peak"] < 80, name
    both, one = (
        films[f"wan2.2-t2v-a14b {part} none on 1 h100"]["memory_gib"]["peak"]
        for part in ("sample", "expert")
    )
    assert one < both - 26


@pytest.mark.parametrize(
    ("film", "cache", "residuals"),
    [
        ("wan2.1-t2v-1.3b", "tea_cache", 1),
        ("wan2.2-t2v-a14b", "mag_cache", 1),
        # Whose rules compare arrays as large, and look behind the first blocks.
        ("wan2.2-t2v-a14b", "tea_cache", 2),
        ("wan2.2-t2v-a14b", "cache_dit", 3),
        ("wan2.2-ti2v-5b", "cache_dit", 3),
    ],
)
def test_what_a_cache_inside_keeps(film: str, cache: str, residuals: int) -> None:
    """Rule: by the committed figures, of each guidance branch a residual, and what the
    cache's own rule needs besides; two experts in memory add nothing to it."""
    result = json.loads((FOLDER / "results" / "gpu_program.json").read_text())
    tokens, dim = {
        "wan2.1-t2v-1.3b": (32760, 1536),
        "wan2.2-ti2v-5b": (27280, 3072),
        "wan2.2-t2v-a14b": (75600, 5120),
    }[film]
    none, kept = (
        result["programs"][f"{film} sample {one} on 1 h100"]["memory_gib"]["peak"]
        for one in ("step_cache", cache)
    )
    assert kept - none <= 1.02 * residuals * 2 * tokens * dim * 2 / 2**30


def test_pictures_and_actions_copy_nothing() -> None:
    """Rule: by the committed figures FLUX's and pi0's programs copy no weights, keep no
    array of queries by keys, turn no weights around, and a cache skips arithmetic."""
    told = json.loads((FOLDER / "results" / "gpu_others.json").read_text())["programs"]
    for name, row in told.items():
        assert row["gib_of_weights_copied_a_call"] == 0, name
        assert row["bias_and_logits_buffers"] == {}, name
        turned = row["floor_ms_by_kind"].get("transpose", 0)
        assert turned < 0.05 * row["floor_ms"], name
        plain = told[name.replace(f" {name.split()[3]} ", " none ")]
        assert row["floor_ms"] <= plain["floor_ms"]
    assert {name.split()[0] for name in told} == {
        "flux.1-dev",
        "pi0-base",
        "pi05-droid",
    }


def test_times_beside_floors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a time of each program, on whatever device there is, under its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    times = importlib.import_module("gpu_times")
    monkeypatch.setattr(times, "ROUNDS", 1)
    out = tmp_path / "times.json"
    times.main(["--models", "dit", "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["device"]
    assert found["rows"]["dit sample none on 1 cpu"]["calls"] == 16
    assert all(row["ms"] > 0 for row in found["rows"].values())
    assert times.known_gpu("NVIDIA H100 80GB HBM3") == "h100"
    assert times.known_gpu("cpu") is None


def test_flux_and_pi0_are_among_the_models(
    ahead: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rule: their rows are made by the same command, and go to their own file."""
    program, asked = importlib.import_module("gpu_program"), []
    monkeypatch.setattr(
        program,
        "compile_rows",
        lambda given, only: (
            asked.append((given.model, given.caches, given.json, only)) or 1
        ),
    )

    def others(*arguments: str) -> list[Any]:
        asked.clear()
        count = program._others(program._parsed(list(arguments)))
        assert count == len(asked)
        return asked[:]

    every = ["flux.1-dev", "pi0-base", "pi05-droid"]
    assert [model for model, *_ in others()] == every
    caches = ["none", "step_cache", "cache_dit"]
    found = others("--models", "pi0-base", "--json", "out/gpu.json", "--only", "none")
    assert found == [("pi0-base", caches, Path("out/gpu_others.json"), ["none"])]
    few = others("--models", "pi0-base", "--caches", "cache_dit", "mag_cache")
    assert few[0][1] == ["cache_dit"]
    assert not others("--models", "pi0-base", "--caches", "mag_cache")
    assert not others("--models", "flux.1-dev", "--devices", "8")
    said = capsys.readouterr().out
    assert "--caches has none of" in said
    assert "--devices has no 1" in said

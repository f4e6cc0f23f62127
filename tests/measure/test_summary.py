"""What `summary` says of runs whose steps are known."""

import json
import re
import sys
from types import SimpleNamespace
from typing import NamedTuple
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import SampleResult, StagedDenoiser, Stats, summary
from jax_stepcache.cli import sample as command
from jax_stepcache.cli.main import main
from jax_stepcache.loop.result import Branches

NAN = float("nan")
COMPUTED = np.array([True, False, False, True, False, True])
SIGNAL = np.array([NAN, 0.25, 0.5, 1.0, 0.0, NAN], np.float32)


def stats(computed=COMPUTED, signal=SIGNAL, threshold=0.75, nonfinite=False):
    signal = np.asarray(signal, np.float32)
    thresholds = np.where(np.isnan(signal), NAN, threshold).astype(np.float32)
    return Stats(
        np.asarray(computed),
        signal,
        np.int32(np.sum(computed)),
        np.bool_(nonfinite),
        thresholds,
    )


def static():
    return stats(signal=np.full(6, NAN))


def branched():
    """Two branches that each leave out a step the other computes."""
    ran = np.stack([COMPUTED, np.roll(COMPUTED, 1)], axis=1)
    signal = np.stack([SIGNAL, SIGNAL / 2], axis=1)
    threshold = np.where(np.isnan(signal), NAN, 0.75).astype(np.float32)
    either = ran.any(axis=1)
    return Stats(
        either,
        signal[:, 0],
        np.int32(either.sum()),
        np.bool_(False),
        threshold[:, 0],
        Branches(ran, signal, threshold),
    )


def lines_drawn(axis, style):
    return [line for line in axis.get_lines() if line.get_linestyle() == style]


def marked(axis, filled):
    """Steps with a marker, filled or hollow."""
    return sorted(
        int(step)
        for line in axis.get_lines()
        if line.get_marker() == "o" and (line.get_markerfacecolor() != "none") == filled
        for step in line.get_xdata()
    )


def test_a_row_counts_steps():
    """Computed and cached steps, their share, and the longest wait for the network."""
    (row,) = summary(stats()).rows
    assert (row.name, row.branch, row.run) == ("run", None, 0)
    assert (row.steps, row.calls, row.computed, row.cached) == (6, 3, 3, 3)
    assert (row.share, row.longest) == (0.5, 2)
    assert row.strip == "█··█·█"
    assert not row.nonfinite


def test_quantiles_are_of_the_steps_that_were_compared():
    """Steps without a comparison do not count; between values it is linear."""
    (row,) = summary(stats()).rows
    wanted = np.quantile([0.25, 0.5, 1.0, 0.0], [0, 0.25, 0.5, 0.75, 0.95, 1])
    np.testing.assert_allclose(row.signal, wanted, rtol=1e-6)
    assert row.signal.max == 1
    assert row.thresholds == (0.75,)


def test_an_infinite_signal_does_not_spoil_the_quantiles():
    """A change relative to zero is infinite; the others still say something."""
    (row,) = summary(stats(signal=[NAN, np.inf, np.inf, 1, 2, 3])).rows
    assert (row.signal.min, row.signal.p50, row.signal.max) == (1, 2, 3)
    assert "-" in str(summary(stats(signal=np.full(6, np.inf))))


def test_rows_are_plain_values():
    """A summary can be compared, written as JSON, and outlives the device's arrays."""
    shown = summary(jax.tree.map(jnp.asarray, stats()), branched())
    assert shown == summary(stats(), branched())
    fields = json.loads(json.dumps([row._asdict() for row in shown.rows]))
    assert fields[0]["curve"][1][:2] == [None, 0.25]


def test_branches_that_decide_apart_have_rows_of_their_own():
    """Either branch makes the network run, so there are more calls than in a row."""
    shown = summary(branched(), stats(), names=["both", "one"])
    assert [row.label for row in shown.rows] == [
        "both, conditional",
        "both, unconditional",
        "one",
    ]
    assert [row.calls for row in shown.rows] == [5, 5, 3]
    assert [row.computed for row in shown.rows] == [3, 3, 3]
    assert [row.strip for row in shown.rows[:2]] == ["█··█·█", "██··█·"]
    assert shown.rows[1].signal.max == 0.5
    assert "calls" in str(shown).splitlines()[0]
    assert "calls" not in str(summary(stats())).splitlines()[0]


def test_text_is_an_aligned_table():
    """It prints as a table, then every row's steps, with a warning of NaNs."""
    shown = summary(stats(nonfinite=True), static(), names=["dynamic", "fixed"])
    header, rule, dynamic, fixed, empty, *strips = str(shown).splitlines()
    assert header.split()[-3:] == ["95%", "max", "threshold"]
    assert set(rule) == {"-", " "}
    numbers = "6 3 3 50% 2 0 0.1875 0.375 0.625 0.925 1 0.75"
    assert dynamic.split() == ["dynamic", *numbers.split()]
    assert len({len(line) for line in (header, rule, dynamic, fixed)}) == 1
    assert empty == ""
    assert strips == ["dynamic  █··█·█  NON-FINITE VALUES", "fixed    █··█·█"]
    assert repr(shown) == str(shown)


def test_what_compares_nothing_has_no_quantiles():
    """A fixed schedule and a run without a cache show dashes, not NaN."""
    uncached = Stats(np.ones(6, bool), np.full(6, NAN), np.int32(6), np.bool_(False))
    shown = summary(static(), uncached, names=["static", "uncached"])
    assert [row.signal for row in shown.rows] == [None, None]
    line = str(shown).splitlines()[3].split()
    assert line == ["uncached", "6", "6", "0", "0%", "0", *["-"] * 7]
    assert "nan" not in str(shown).lower()


def test_a_signal_may_be_shown_without_a_threshold():
    """A calibration run computes every step and still has a signal to look at."""
    (row,) = summary(stats(computed=np.ones(6, bool), threshold=NAN)).rows
    assert row.signal.max == 1
    assert row.thresholds == ()


def test_a_threshold_that_changes_is_a_range():
    """Nothing says that a policy has one threshold only."""
    moving = stats(threshold=np.array([1, 2, 3, 4, 5, 6]))
    assert summary(moving).rows[0].thresholds == (2, 3, 4, 5)
    assert "2 to 5" in str(summary(moving))


def test_whatever_has_statistics_is_taken():
    """Results, their statistics, and control steps of DreamZero."""

    class ControlStep(NamedTuple):
        action: int
        stats: Stats

    result = SampleResult(jnp.zeros(1), stats())
    shown = summary(result, stats(), ControlStep(0, stats()))
    assert [row.name for row in shown.rows] == ["run 1", "run 2", "run 3"]
    assert {row.strip for row in shown.rows} == {"█··█·█"}


def test_traced_results_are_refused():
    """Inside a transformation there is nothing to count; the error says where to go."""
    with pytest.raises(ValueError, match=r"return the result from jax\.jit"):
        jax.eval_shape(lambda x: summary(x).rows, stats())
    with pytest.raises(ValueError, match="no values yet"):
        summary(jax.eval_shape(lambda: jax.tree.map(jnp.asarray, stats())))


@pytest.mark.parametrize("made", [stats, branched])
def test_a_batch_is_refused_with_a_way_out(made):
    """What the error proposes for mapped results works."""
    batch = jax.tree.map(lambda x: np.stack([np.stack([x] * 3)] * 2), made())
    with pytest.raises(ValueError, match="batch of 2 x 3 runs") as error:
        summary(batch)
    assert "jax.tree.map(lambda x: x[0, 0], result)" in str(error.value)
    assert summary(jax.tree.map(lambda x: x[0, 0], batch)) == summary(made())


@pytest.mark.parametrize(
    ("results", "names", "error", "words"),
    [
        ((), None, ValueError, "nothing to summarise"),
        (([stats()],), None, TypeError, r"summary\(\*results\)"),
        ((jnp.zeros(6),), None, TypeError, "what sampling returns"),
        ((stats(),), ["a", "b"], ValueError, "list of 1"),
        ((stats(),), "a", ValueError, "list of 1"),
        ((Stats(0, 0, 0, 0),), None, ValueError, "holds no steps"),
    ],
)
def test_mistakes_are_told(results, names, error, words):
    """Every wrong argument has an error that says what to give."""
    with pytest.raises(error, match=words):
        summary(*results, names=names)


def test_html_is_one_table_of_its_own():
    """Names are escaped, nothing is loaded, and colours suit dark and light pages."""
    name = "<script>alert('&')</script>"
    shown = summary(stats(nonfinite=True), branched(), names=[name, "b"])
    html = shown._repr_html_()
    table = ElementTree.fromstring(html)
    rows = table.findall("./tbody/tr")
    assert table.tag == "table"
    assert rows[0].find("td").text == name
    assert not re.search(r"<script|<style|<img|http|url\(", html)
    assert {len(row) for row in (*rows, table.find("./thead/tr"))} == {15}
    steps = rows[0].findall("td")[-1].findall("./span/span")
    assert [step.get("title") for step in steps][:2] == [
        "step 0: computed",
        "step 1: cached",
    ]
    assert "NON-FINITE" in html
    assert not re.search(r"[^-]color:(black|white|#000|#fff)", html)


def test_plot_has_a_panel_for_each_run():
    """Branches share a panel; a step has one marker, filled where it was computed."""
    shown = summary(stats(), static(), branched(), names=["a", "b", "$c"])
    figure = shown.plot()
    one, fixed, two = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b", "$c"]
    assert marked(one, True) == marked(fixed, True) == [0, 3, 5]
    assert marked(one, False) == marked(fixed, False) == [1, 2, 4]
    assert sorted(marked(two, True) + marked(two, False)) == sorted([*range(6)] * 2)
    assert [line.get_ydata()[0] for line in lines_drawn(one, "--")] == [0.75]
    assert not lines_drawn(fixed, "--") + lines_drawn(fixed, "-")
    (signal,) = lines_drawn(one, "-")
    assert signal.get_xydata().tolist() == [[1, 0.25], [2, 0.5], [3, 1], [4, 0]]
    assert len(lines_drawn(two, "-")) == 2
    (band,) = one.patches
    assert band.get_height() == pytest.approx(0.14)
    low, high = one.get_ylim()
    assert low + band.get_height() * (high - low) < 0


def test_plot_writes_a_file_by_its_ending(tmp_path):
    """Folders are made, and only the finished file stays behind."""
    shown = summary(stats(threshold=np.array([1, 2, 3, 4, 5, 6])))
    shown.plot(tmp_path / "new" / "signal.png")
    shown.plot(str(tmp_path / "new" / "signal.svg"))
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["signal.png", "signal.svg"]
    assert (tmp_path / "new" / "signal.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "new" / "signal.svg").read_bytes()
    with pytest.raises(ValueError, match="not supported"):
        shown.plot(tmp_path / "new" / "signal.nonsense")
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_plot_is_a_picture_in_any_notebook():
    """Without pyplot a notebook knows no figures, but it asks objects for a PNG."""
    assert summary(static()).plot()._repr_png_().startswith(b"\x89PNG")


def test_plot_into_axes_of_ones_own():
    """A figure of one's own is drawn into, and must have room for all runs."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(2)
    assert summary(stats(), static()).plot(axes=axes) is figure
    assert summary(stats()).plot(axes=Figure().subplots()) is not figure
    with pytest.raises(ValueError, match="2 axes for 1 runs"):
        summary(stats()).plot(axes=axes)


def test_plot_without_matplotlib(monkeypatch):
    """The table needs no extra; the plot says which one it needs."""
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shown = summary(stats())
    assert "threshold" in str(shown)
    with pytest.raises(ImportError, match=r"jax-stepcache\[plot\]"):
        shown.plot()


def test_a_real_run_inside_a_network():
    """TeaCache, from the loop to the table: the rule it went by is seen."""
    network = StagedDenoiser(
        num_blocks=2,
        embed=lambda params, x, t, condition: (x + 5, None),
        blocks=lambda params, hidden, context, start, stop: hidden * params,
        head=lambda params, hidden, context: hidden,
        modulated=lambda params, hidden, context: hidden,
    )
    noise = jax.random.normal(jax.random.key(0), (1, 4, 2))
    result = jax_stepcache.sample(
        jnp.float32(0.5),
        model=network,
        noise=noise,
        cache="tea_cache",
        cache_config={"rel_l1_thresh": 0.2},
        num_inference_steps=8,
        solver="euler",
    )
    (row,) = summary(result, names=["tea_cache"]).rows
    assert row.computed == row.calls == int(result.stats.model_calls)
    assert 0 < row.cached < 8
    assert row.thresholds == pytest.approx((0.2,))
    curve = row.curve
    reused = [x for x, ran in zip(curve.signal, curve.computed, strict=True) if not ran]
    assert max(reused) < 0.2 <= row.signal.max


def test_the_command_prints_it(capsys, monkeypatch):
    """`sample --summary` prints the table below the result."""
    result = SampleResult(jnp.zeros(1), stats())
    params = SimpleNamespace(model=SimpleNamespace(example=lambda key, batch: None))
    monkeypatch.setattr(command, "load_params", lambda name: params)
    monkeypatch.setattr(command, "sample", lambda *_, **__: result)
    assert main(["sample", "--summary"]) == 0
    printed = capsys.readouterr().out
    assert str(summary(result, names=["step_cache"])) in printed
    assert main(["sample"]) == 0
    assert "threshold" not in capsys.readouterr().out

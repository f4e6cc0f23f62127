"""What `timeline` shows of requests whose slots and calls are known."""

import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import SampleResult, Stats, timeline
from jax_stepcache.loop.result import Batching

pytest.importorskip("matplotlib", reason="needs the extra plot")

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

NAN = np.float32("nan")


def result(strip, slot, calls, network_calls, within=False):
    """A request's result: ``#`` in the strip for a step that was computed."""
    computed = np.array([x == "#" for x in strip])
    batching = Batching(
        np.int32(slot),
        np.asarray(calls, np.int32),
        np.int32(network_calls),
        np.bool_(within),
    )
    stats = Stats(
        computed,
        np.full(len(strip), NAN),
        np.int32(computed.sum()),
        np.bool_(False),
        batching=batching,
    )
    return SampleResult(np.zeros((1, 2)), stats)


def around():
    """A cache around the network: two slots, five calls, three requests."""
    return [
        result("##..#", 0, [0, 1, 2, 2, 2], 5),
        result("##.##..", 1, [0, 1, 2, 2, 3, 4, 4], 5),
        # Its slot is taken over behind the other's last step.
        result(".##...", 0, [3, 3, 4, 5, 5, 5], 5),
    ]


def inside():
    """A cache inside the network: each call takes a slot one step."""
    return [
        result("##.#", 0, [0, 1, 2, 3], 6, within=True),
        result("#.", 0, [4, 5], 6, within=True),
        result("#..#.", 1, [0, 1, 2, 3, 4], 6, within=True),
    ]


def drawn(shown):
    """Boxes (call, slot, colour, filled), and marks (gap, slot, colour), as drawn."""
    (axis,) = shown.plot().axes
    patches = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    boxes, marks = [], []
    for patch in patches:
        x, y = patch.get_center()
        colour = to_hex(patch.get_edgecolor())
        if patch.get_width() > 0.5:
            filled = patch.get_facecolor()[3] == 1
            boxes.append((round(x), round(y), colour, filled))
        else:
            marks.append((x, round(y), to_hex(patch.get_facecolor())))
    return boxes, marks


def own_model(weights, sample, t, condition):
    return weights * sample + jnp.sin(3 * sample) * jnp.cos(t / 90)[:, None]


def sampled_many():
    noises = jax.random.normal(jax.random.key(1), (7, 1, 3))
    requests = [
        {
            "noise": noise,
            "num_inference_steps": steps,
            "cache_config": {
                "velocity_sim_thresholds": [threshold],
                "velocity_skip_countdowns": [4],
            },
        }
        for noise, steps, threshold in zip(
            noises,
            (6, 16, 9, 4, 12, 16, 5),
            (0.9, 0.99, 0.5, 0.9999, 0.95, 0.9, 0.999999),
            strict=True,
        )
    ]
    return jax_stepcache.sample_many(
        jnp.float32(-0.3),
        requests,
        slots=3,
        model=own_model,
        cache="step_cache",
        solver="euler",
    )


def test_a_row_says_where_and_when():
    """Each request has a row: its slot, its first call, and its steps."""
    rows = timeline(around()).rows
    assert [(row.request, row.slot, row.first) for row in rows] == [
        (0, 0, 0),
        (1, 1, 0),
        (2, 0, 3),
    ]
    assert rows[2].steps[:2] == ((3, False), (3, True))
    assert rows[2].last == 5


def test_text_has_a_line_for_each_slot_and_a_column_for_each_call():
    """Reused steps around the network take no column; idle slots show."""
    header, *slots, footer = str(timeline(around())).splitlines()
    assert slots == ["   0  00022", "   1  1111·"]
    assert "5 network calls from 0 on, 9 of 10 places served" in header
    assert "-" not in footer


def test_text_shows_steps_that_took_a_call_without_the_span():
    """Inside the network a slot is served at reused steps, too."""
    header, *slots, footer = str(timeline(inside())).splitlines()
    assert slots == ["   0  00-01-", "   1  2--2-·"]
    assert "11 of 12" in header
    assert "reused inside the network" in footer


def test_names_begin_again_after_the_last_letter():
    """Any number of requests can be shown, one character each."""
    many = [result("#", i % 2, [i // 2], 50) for i in range(100)]
    lines = str(timeline(many)).splitlines()
    assert {len(line) for line in lines[1:3]} == {6 + 50}
    assert lines[1][6:][31:33] == "02"


def test_a_last_step_around_the_network_takes_no_call():
    """Where the cache is is told by the result, not guessed from its steps."""
    steps = ("##.", 0, [0, 1, 2], 4)
    assert str(timeline([result(*steps)])).splitlines()[1] == "   0  00"
    within = str(timeline([result(*steps, within=True)]))
    assert within.splitlines()[1] == "   0  00-"


def test_calls_begin_where_the_requests_do():
    """Some results of a long run do not show the calls before and after them."""
    shown = timeline([result("#.#", 1, [1000, 1001, 1001], 5000)])
    assert shown.calls == range(1000, 1002)
    assert str(shown).splitlines()[1:3] == ["   0  ··", "   1  00"]


def test_what_sample_many_did_is_shown_whole():
    """No two requests share a slot's call, and filled cells are the model calls."""
    results = sampled_many()
    shown = timeline(results)
    cells = Counter(
        (row.slot, step.call)
        for row in shown.rows
        for step in row.steps
        if step.computed
    )
    assert set(cells.values()) == {1}
    calls = sum(int(one.stats.model_calls) for one in results)
    assert len(cells) == calls
    text = "".join(line[6:] for line in str(shown).splitlines()[1:-1])
    assert len(text) - text.count("·") == calls
    assert shown.calls == range(int(results[0].stats.batching.network_calls))
    boxes, marks = drawn(shown)
    assert len(boxes) == calls
    steps = sum(len(one.stats.computed) for one in results)
    assert len(marks) == steps - calls


def test_a_batch_that_decides_apart_is_its_requests():
    """The one result of decide="sample" has a row for each sample."""
    result = jax_stepcache.sample(
        jnp.float32(-0.3),
        model=own_model,
        noise=jax.random.normal(jax.random.key(0), (4, 3)),
        cache="step_cache",
        solver="euler",
        decide="sample",
    )
    shown = timeline(result)
    assert [row.slot for row in shown.rows] == [0, 1, 2, 3]
    assert shown == timeline([result]) == timeline(result.stats)
    for row, computed in zip(shown.rows, result.stats.computed, strict=True):
        assert [step.computed for step in row.steps] == computed.tolist()


def test_boxes_are_computed_steps_and_marks_are_reused_ones():
    """Marks are between the boxes that the slot walked between, in their colour."""
    shown = timeline(around())
    boxes, marks = drawn(shown)
    assert {(x, y) for x, y, _, _ in boxes} == {
        *((i, 0) for i in range(5)),
        *((i, 1) for i in range(4)),
    }
    assert all(filled for *_, filled in boxes)
    gaps = Counter((round(x + 0.5, 3), y) for x, y, _ in marks)
    assert gaps == {(2, 0): 2, (2, 1): 1, (3, 0): 1, (4, 1): 2, (5, 0): 3}
    colours = {(x, y): colour for x, y, colour, _ in boxes}
    assert len({colours[0, 0], colours[0, 1], colours[3, 0]}) == 3
    assert {colour for x, y, colour in marks if x > 4} == {colours[3, 0]}


def test_hollow_boxes_are_calls_without_the_span():
    """Inside the network every step has its own box."""
    boxes, marks = drawn(timeline(inside()))
    assert not marks
    assert len({(x, y) for x, y, *_ in boxes}) == len(boxes) == 11
    hollow = sorted((x, y) for x, y, _, filled in boxes if not filled)
    assert hollow == [(1, 1), (2, 0), (2, 1), (4, 1), (5, 0)]


def test_everything_drawn_is_within_the_axes():
    """Marks behind the last call are seen, and stacked ones stay in their row."""
    (axis,) = timeline([result("#" + "." * 20, 0, [0, *[1] * 20], 1)]).plot().axes
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    for patch in axis.patches:
        box = patch.get_bbox()
        assert left < box.x0 < box.x1 < right
        assert top < box.y0 < box.y1 < bottom
        assert -0.5 < box.y0 < box.y1 < 0.5


def test_numbers_and_legend_say_which_request():
    """The first box of a request has its number; the legend explains the rest."""
    axis = Figure().subplots()
    figure = timeline(around()).plot(axis)
    assert figure is axis.figure
    numbers = {text.get_text(): text.get_position() for text in axis.texts}
    assert numbers == {"0": (0, 0), "1": (0, 1), "2": (3, 0)}
    assert len(axis.get_legend().get_texts()) == 2
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("network call", "slot")


def test_a_notebook_shows_the_figure():
    """Without pyplot, too."""
    assert timeline(around()).plot()._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    """Text needs nothing; the picture names the extra."""
    shown = timeline(around())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert str(shown)
    with pytest.raises(ImportError, match=r"jax-stepcache\[plot\]"):
        shown.plot()


def test_rows_are_plain_values():
    """Timelines can be compared, wherever the arrays are."""
    assert timeline(around()) == timeline(jax.tree.map(jnp.asarray, around()))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (around()[0]._replace(stats=around()[0].stats._replace(batching=None)), "many"),
        ([], "nothing to show"),
        ([*around(), *around()], "results 0 and 3 were in slot 0"),
        ([around()[0], result("###", 0, [1, 2, 3], 5)], "at once"),
    ],
)
def test_what_was_not_side_by_side_is_refused(given, said):
    """The error names the result, and what to give."""
    with pytest.raises(ValueError, match=said):
        timeline(given)


def test_two_batches_are_refused():
    """Each has calls of its own."""
    batch = jax.tree.map(lambda *x: np.stack(x), inside()[1], inside()[1])
    with pytest.raises(ValueError, match="at a time"):
        timeline([batch, batch])


@pytest.mark.parametrize("given", [3, [3], "results", {"a": 1}])
def test_what_is_no_result_is_refused(given):
    """A wrong kind of argument is told apart from a wrong result."""
    with pytest.raises(TypeError, match="sample_many"):
        timeline(given)


def test_a_traced_result_is_refused():
    """Inside jit there are no steps to show yet."""
    with pytest.raises(ValueError, match="return it from jax"):
        jax.jit(lambda one: timeline([one]) and 0)(around()[0])

"""Several threads, one process: bars, servers, callbacks, and how scripts end."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback
from jax.sharding import PartitionSpec

from jax_stepcache import Server, Stream, sample, serve
from jax_stepcache.loop.progress import TqdmProgress
from jax_stepcache.models.dreamzero import split_sessions, stack_sessions
from jax_stepcache.serving import stream as streams
from jax_stepcache.serving.context import context_here

from ..models.dreamzero.robots import observation, pipeline, prompts
from ..networks import Watched

NOISE = jnp.ones((1, 4), jnp.float32)
SHARED: dict[str, Any] = {"num_inference_steps": 4, "solver": "euler"}


def network(weights: Any, x: Any, t: Any, condition: Any) -> Any:
    del t, condition
    return jnp.tanh(x * weights)


def opened(model: Any = network, **more: Any) -> Stream:
    settings = {"slots": 2, "capacity": 8, "calls_per_chunk": 2}
    options = {"model": model, "example": {"noise": NOISE}} | SHARED | settings | more
    return serve(jnp.float32(0.5), **options)


def request(number: float = 1.0) -> dict[str, Any]:
    return {"noise": NOISE * number}


def answer(number: float = 1.0) -> Any:
    return sample(jnp.float32(0.5), model=network, **request(number), **SHARED).sample


class Bars:
    """In tqdm's place: what each bar was told."""

    def __init__(self) -> None:
        self.all: list[Bars.One] = []

    def __call__(self, *, total: int, initial: int, unit: str) -> Bars.One:
        assert unit == "step"
        self.all.append(Bars.One(total, initial))
        return self.all[-1]

    class One:
        def __init__(self, total: int, initial: int) -> None:
            self.total, self.at = total, initial
            self.calls, self.closed = 0, False

        def set_postfix(self, *, model_calls: int, refresh: bool) -> None:
            del refresh
            assert not self.closed
            self.calls = model_calls

        def update(self) -> None:
            assert not self.closed
            self.at += 1

        def close(self) -> None:
            self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> tuple[Bars, TqdmProgress]:
    shown = Bars()
    monkeypatch.setattr("tqdm.auto.tqdm", shown)
    return shown, TqdmProgress()


def with_bar(progress: Any, noise: Any = NOISE, steps: int = 4) -> Any:
    return sample(
        jnp.float32(0.5),
        model=network,
        noise=noise,
        cache="step_cache",
        progress=progress,
        num_inference_steps=steps,
        solver="euler",
    )


def test_each_thread_has_a_bar_of_its_own(bars: tuple[Bars, TqdmProgress]) -> None:
    """Rule: a bar belongs to a generation, whoever else runs the same program."""
    shown, progress = bars
    failed: list[BaseException] = []

    def work(steps: int) -> None:
        try:
            for _ in range(8):
                jax.block_until_ready(with_bar(progress, steps=steps))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(3 + i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert all(bar.closed for bar in shown.all)
    # Whatever was taken for abandoned has been shown again: each came to its end.
    assert [bar.at == bar.total for bar in shown.all].count(True) == 32


@pytest.mark.parametrize("how", ["in one program", "mapped", "one after the other"])
def test_generations_of_one_thread_have_bars_of_their_own(
    bars: tuple[Bars, TqdmProgress], how: str
) -> None:
    """Rule: the same inside a user's jit, in its loops, and dispatched ahead."""
    shown, progress = bars

    def run(noise: Any, steps: int = 4) -> Any:
        return with_bar(progress, noise, steps).sample

    if how == "in one program":
        jax.block_until_ready(jax.jit(lambda x: (run(x), run(x, 3)))(NOISE))
    elif how == "mapped":
        many = jnp.stack([NOISE, NOISE])
        jax.block_until_ready(jax.jit(lambda x: jax.lax.map(run, x))(many))
    else:
        jax.block_until_ready([run(NOISE), run(NOISE * 2, 3)])
    jax.effects_barrier()
    second = 4 if how == "mapped" else 3
    assert [(bar.at, bar.total) for bar in shown.all] == [(4, 4), (second, second)]
    assert all(bar.closed and 0 < bar.calls <= bar.total for bar in shown.all)


def test_a_bar_that_has_broken_off_makes_room(bars: tuple[Bars, TqdmProgress]) -> None:
    """Rule: no bar is left open by a generation that failed half-way."""
    shown, progress = bars
    stops = [2]

    def stop(t: Any) -> None:
        if stops and int(t) == stops[0]:
            stops.clear()
            raise KeyboardInterrupt

    def failing(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        io_callback(stop, None, t[0].astype(jnp.int32) // 250, ordered=True)
        return network(weights, x, t, condition)

    def run() -> Any:
        return jax.block_until_ready(
            sample(
                jnp.float32(1), model=failing, noise=NOISE, progress=progress, **SHARED
            )
        )

    with pytest.raises(jax.errors.JaxRuntimeError):
        run()
    run()
    assert [bar.closed for bar in shown.all] == [True, True]
    assert [bar.at for bar in shown.all] == [1, 4]


@hypothesis.given(st.lists(st.integers(0, 3), max_size=24))
def test_bars_are_told_apart_however_they_come(order: list[int]) -> None:
    """Rule: in any order, each ends with its own steps and calls, and none stays."""
    shown, progress = Bars(), TqdmProgress()
    progress._open = shown
    steps, number, calls = [0] * 4, [0] * 4, [0] * 4
    # What is not drawn comes at the end.
    for run in [*order, *[i for i in range(4) for _ in range(6)]]:
        total = 3 + run
        if steps[run] == total:
            continue
        computed = (steps[run] + run) % 2 == 0
        told = progress(steps[run], computed, number[run], num_steps=total)
        assert number[run] in (0, int(told))
        number[run] = int(told)
        steps[run] += 1
        calls[run] += computed
    assert len(set(number)) == 4
    ended = sorted((x.total, x.calls) for x in shown.all if x.at == x.total)
    assert ended == [(3 + i, calls[i]) for i in range(4)]
    assert all(bar.closed for bar in shown.all)


class LeaveError(BaseException):
    """No `Exception`, as ``sys.exit`` and Ctrl-C are none."""


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, LeaveError])
def test_a_callback_that_exits_harms_nobody(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Rule: all futures end, other callbacks are called, and the server serves on."""
    called: list[Future] = []

    def exits(future: Future) -> None:
        del future
        raise kind(3)

    release = threading.Event()
    with Server(opened()) as server:
        # The first answer's callback waits until all callbacks are there.
        first = server.submit(request(0.0))
        first.add_done_callback(lambda _: release.wait(60))
        futures = [server.submit(request(number)) for number in range(1, 7)]
        for future in futures:
            future.add_done_callback(exits)
            future.add_done_callback(called.append)
        release.set()
        results = [future.result(timeout=300).sample for future in futures]
        after = server.submit(request(9.0)).result(timeout=300)
    for number, result in enumerate(results, 1):
        np.testing.assert_allclose(result, answer(number), atol=1e-6)
    np.testing.assert_allclose(after.sample, answer(9.0), atol=1e-6)
    assert called == futures
    told = [x for x in caplog.records if x.levelno == logging.ERROR]
    assert len(told) == 6


def test_a_callback_that_exits_when_all_is_cancelled() -> None:
    """Rule: also where the server itself has failed, or cancels what is left."""
    server = Server(opened())
    futures = [server.submit(request()) for _ in range(6)]
    for future in futures:
        future.add_done_callback(lambda _: sys.exit(3) if in_server(server) else None)
    server.close(cancel=True)
    assert all(future.done() for future in futures)


def in_server(server: Server) -> bool:
    return threading.current_thread() is server._thread


def test_outside_the_server_a_callback_exits_as_python_has_it() -> None:
    """Rule: who adds a callback to what is done, or cancels, hears of it."""
    with Server(opened()) as server:
        future = server.submit(request())
        future.result(timeout=300)
        with pytest.raises(SystemExit):
            future.add_done_callback(lambda _: sys.exit(3))


def test_a_future_that_somebody_else_has_answered_harms_nobody() -> None:
    """Rule: misusing one's own future ends nothing but that."""
    with Server(opened()) as server:
        mine, others = server.submit(request()), server.submit(request(2.0))
        with contextlib.suppress(Exception):
            mine.set_result("mine")
        result = others.result(timeout=300)
    np.testing.assert_allclose(result.sample, answer(2.0), atol=1e-6)


SWITCHES = {
    "precision": lambda: jax.default_matmul_precision("bfloat16"),
    "x64": lambda: jax.enable_x64(True),
    "device": lambda: jax.default_device(jax.devices()[0]),
    "prng": lambda: jax.default_prng_impl("rbg"),
    "rank": lambda: jax.numpy_rank_promotion("raise"),
    "dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "nans": lambda: jax.debug_nans(True),
    "infs": lambda: jax.debug_infs(True),
    "guard": lambda: jax.transfer_guard("log"),
    "keys": lambda: jax.debug_key_reuse(True),
    "leaks": lambda: jax.check_tracer_leaks(True),
    "jit": jax.disable_jit,
    "mesh": lambda: jax.set_mesh(jax.make_mesh((1,), ("data",))),
    "abstract": lambda: jax.sharding.use_abstract_mesh(
        jax.make_mesh((1,), ("data",)).abstract_mesh
    ),
}


@hypothesis.given(st.sets(st.sampled_from(sorted(SWITCHES)), max_size=6))
def test_another_thread_can_enter_a_context(names: set[str]) -> None:
    """Rule: all of it is carried, and left again."""
    with contextlib.ExitStack() as stack:
        for name in sorted(names - {"abstract"} if "mesh" in names else names):
            stack.enter_context(SWITCHES[name]())
        here = context_here()
        values = dict(jax.config.values)
        meshes = jax.sharding.get_mesh(), jax.sharding.get_abstract_mesh()
    seen: list[Any] = []

    def other() -> None:
        before = dict(jax.config.values)
        with here.entered():
            seen.append(dict(jax.config.values))
            seen.append((jax.sharding.get_mesh(), jax.sharding.get_abstract_mesh()))
        assert dict(jax.config.values) == before

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    # Has been put on the three directions, and is only ever written.
    values.pop("jax_transfer_guard")
    seen[0].pop("jax_transfer_guard")
    assert seen == [values, meshes]
    assert bool(here.switches or here.meshes) == bool(names)


@pytest.mark.parametrize("name", ["precision", "x64", "mesh"])
def test_a_server_works_under_its_openers_context(name: str) -> None:
    """Rule: its thread runs the opener's program, and checks requests alike."""

    def constrained(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        if name == "mesh":
            x = jax.reshard(x, PartitionSpec())
        return network(weights, x, t, condition)

    model = Watched(constrained)
    noise = np.full((1, 4), 0.25, np.float64 if name == "x64" else np.float32)
    with SWITCHES[name]():
        server = Server(opened(model, example={"noise": noise}))
        wanted = sample(jnp.float32(0.5), model=model, noise=noise, **SHARED).sample
    traces = model.traces
    with server:
        result = server.submit({"noise": noise}).result(timeout=300)
    assert model.traces == traces
    assert result.sample.dtype == wanted.dtype == noise.dtype
    np.testing.assert_array_equal(result.sample, wanted)


def test_a_stream_is_run_by_one_server() -> None:
    """Rule: a second opening is refused at once, and by name."""
    stream = opened()
    with Server(stream) as server:
        with pytest.raises(ValueError, match="a server runs this stream already"):
            Server(stream)
        for use in (
            lambda: stream.submit(request()),
            stream.step,
            lambda: stream.cancel(0),
            lambda: list(stream.feed([request()])),
            stream.compile,
        ):
            with pytest.raises(RuntimeError, match="a server runs this stream, and"):
                use()
        np.testing.assert_allclose(
            server.submit(request()).result(timeout=300).sample, answer(), atol=1e-6
        )
    with pytest.raises(RuntimeError, match="the server is closed"):
        server.__enter__()
    # Closed, it has left the stream as it was.
    stream.submit(request(2.0))
    (outcome,) = stream
    np.testing.assert_allclose(outcome.unwrap().sample, answer(2.0), atol=1e-6)
    with Server(stream) as again:
        again.submit(request()).result(timeout=300)


def test_a_stream_is_used_by_one_at_a_time() -> None:
    """Rule: a second use, from another thread or from within, says what to do."""
    told: list[BaseException] = []
    once: list[bool] = []

    def clock() -> float:
        if once and once.pop():
            for use in (lambda: stream.submit(request()), stream.step):
                thread = threading.Thread(target=tried, args=(use,))
                thread.start()
                thread.join()
                tried(use)
        return 0.0

    def tried(use: Any) -> None:
        try:
            use()
        except RuntimeError as error:
            told.append(error)

    stream = opened(clock=clock)
    once.append(True)
    stream.submit(request(), deadline=1.0)
    (outcome,) = stream
    np.testing.assert_allclose(outcome.unwrap().sample, answer(), atol=1e-6)
    assert len(told) == 4
    for error in told:
        assert "this stream is in use" in str(error)


def test_a_stream_that_has_failed_says_so() -> None:
    """Rule: not "Array has been deleted", and not for ever the next one's KeyError."""

    def fail(x: Any) -> Any:
        raise OSError("the disk is full")

    def failing(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        io_callback(fail, None, t[0], ordered=True)
        return network(weights, x, t, condition)

    stream = opened(failing)
    stream.submit(request())
    with pytest.raises(jax.errors.JaxRuntimeError, match="the disk is full"):
        stream.step()
    for use in (lambda: stream.submit(request()), stream.step, lambda: Server(stream)):
        with pytest.raises((RuntimeError, ValueError), match=r"failed|holds requests"):
            use()
    with pytest.raises(RuntimeError, match="this stream has failed") as told:
        stream.submit(request())
    assert "the disk is full" in str(told.value.__cause__)


def test_an_interrupted_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: Ctrl-C while it waits for a device loses nothing and repeats nothing."""
    stream = opened()
    interrupts = iter([False, True, False, True, True] + [False] * 50)
    fetch = jax.device_get

    def fetched(tree: Any) -> Any:
        if next(interrupts):
            raise KeyboardInterrupt
        return fetch(tree)

    monkeypatch.setattr(streams.jax, "device_get", fetched)
    numbers = {stream.submit(request(number)): number for number in range(1, 7)}
    outcomes, interrupted = [], 0
    while len(stream):
        try:
            outcomes.extend(stream)
        except KeyboardInterrupt:
            interrupted += 1
            outcomes.extend(stream._drained())
    assert interrupted == 3
    assert sorted(outcome.ticket for outcome in outcomes) == sorted(numbers)
    for outcome in outcomes:
        expected = answer(numbers[outcome.ticket])
        np.testing.assert_allclose(outcome.unwrap().sample, expected, atol=1e-6)


def test_a_session_that_was_given_away_is_told() -> None:
    """Rule: at its second use, whichever that is; and of two that share arrays."""
    pipe = pipeline()
    session = pipe.start(*prompts(1))
    twin = session._replace(position=session.position + 0)
    with pytest.raises(ValueError, match=r"sessions\[1\].*shares arrays"):
        pipe.step_many([session, twin], [observation(1, 0)] * 2)
    pipe(session, observation(1, 0), num_inference_steps=2)
    for use in (
        lambda: pipe(session, observation(1, 0)),
        lambda: pipe.begins(session),
        lambda: pipe.prompt(session, *prompts(1)),
        lambda: stack_sessions([session, session]),
        lambda: split_sessions(session),
    ):
        with pytest.raises(ValueError, match="this session has been stepped on"):
            use()


SCRIPT = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp
from jax_stepcache import Server, serve
def network(weights, x, t, condition):
    return jnp.tanh(x @ x)
request = {"noise": jax.random.normal(jax.random.key(0), (1, 32, 32))}
server = Server(serve((), example=request, model=network, slots=2, capacity=64,
                      num_inference_steps=20, solver="euler"))
futures = [server.submit(request) for _ in range(40)]
"""
NOTED = """
ended = []
def note(future):
    ended.append(future.exception())
    if len(ended) == 40:
        print("all ended", flush=True)
for future in futures:
    future.add_done_callback(note)
"""
ENDS = {
    "at once": ("", 0),
    "raise": ("1 / 0", 1),
    "Ctrl-C": (
        # Who is started in the background of a shell ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "threading.Timer(.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "[future.result() for future in futures]\ntime.sleep(30)",
        -2,
    ),
    "terminated": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)",
        4,
    ),
    "a daemon submits": (
        "def submit():\n    while True: server.submit(request)\n"
        "threading.Thread(target=submit, daemon=True).start()\nsys.exit(5)",
        5,
    ),
    "a thread goes on": (
        "def wait():\n    for future in futures: future.result()\n    print('waited')\n"
        "threading.Thread(target=wait).start()",
        0,
    ),
}


def ended(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_script_may_leave_its_server_open() -> None:
    """Rule: what was submitted is finished, and the exit code is the script's."""
    done = ended(SCRIPT + NOTED + "sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "all ended\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_scripts_end_as_they_would_without_a_server(how: str) -> None:
    """Rule: nothing aborts, hangs, or changes the exit code."""
    end, code = ENDS[how]
    done = ended(SCRIPT + end)
    assert done.returncode == code, done.stderr
    assert "exception not rethrown" not in done.stderr
    assert ("waited" in done.stdout) == (how == "a thread goes on")

"""Everything runs under JAX's own switches, which people set for all of their code.

The models here promote nothing, rank or dtype, and give no NaN: what a switch stops at
is the library's. A switch changes no decision and no sample.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import (
    Pipeline,
    Request,
    Server,
    StagedDenoiser,
    calibrate,
    compose,
    sample,
    sample_many,
    serve,
    summary,
)
from jax_stepcache.backends.selector import _BACKENDS
from jax_stepcache.policy.gates import Verdict

SWITCHES: dict[str, Callable[[], Any]] = {
    "nans": lambda: jax.debug_nans(True),
    "infs": lambda: jax.debug_infs(True),
    "rank": lambda: jax.numpy_rank_promotion("raise"),
    "strict": lambda: jax.numpy_dtype_promotion("strict"),
    "x64": lambda: jax.enable_x64(True),
    "guard": lambda: jax.transfer_guard("disallow"),
    "leaks": jax.checking_leaks,
    "reuse": lambda: jax.debug_key_reuse(True),
    "legacy": lambda: jax.legacy_prng_key("error"),
}

STEPS, BLOCKS = 5, 3
ONES = [1.0] * STEPS


def _embed(w: Any, x: jax.Array, t: jax.Array, c: jax.Array) -> Any:
    return x + c[:, None], jnp.broadcast_to((t / 1000)[:, None, None], x.shape)


def _blocks(w: Any, h: jax.Array, time: jax.Array, start: int, stop: int) -> Any:
    for i in range(start, stop):
        h = h + 0.1 * jnp.tanh((h + time) @ w[i])
    return h


MODEL = StagedDenoiser(
    BLOCKS, _embed, _blocks, lambda w, h, time: h, lambda w, h, time: h + time
)


def whole(w: Any, x: jax.Array, t: jax.Array, c: jax.Array) -> jax.Array:
    """A network around which a cache can be, and no more."""
    h, time = _embed(w, x, t, c)
    return _blocks(w, h, time, 0, BLOCKS)


def _arrays(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


WEIGHTS, NOISE = _arrays(1, BLOCKS, 4, 4), _arrays(2, 2, 3, 4)
TEXT, OTHER = _arrays(3, 2, 4), _arrays(4, 2, 4)
OWN = {"model": MODEL, "num_inference_steps": STEPS}

# Made once, before any switch is turned.
TABLE = jax_stepcache.as_table("unipc", jax_stepcache.flow_schedule(3))

CONFIGS: dict[str, Any] = {
    "step_cache": {"velocity_sim_thresholds": [0.5], "velocity_skip_countdowns": [2]},
    "tea_cache": {"rel_l1_thresh": 0.3},
    "cache_dit": {"residual_diff_threshold": 0.5, "max_warmup_steps": 1},
    "db_prune": {"residual_diff_threshold": 0.5, "max_warmup_steps": 1},
    "mag_cache": {"mag_ratios": ONES},
    "sea_cache": {"sea_threshold": 0.5},
    "first_block_cache": {"threshold": 0.5},
    "taylor_seer": {"cache_interval": 2, "disable_cache_before_step": 2},
    "hi_cache": {"cache_interval": 2, "disable_cache_before_step": 2},
    "easy_cache": {"thresh": 0.5, "ret_steps": 2},
    "di_cache": {"rel_l1_thresh": 0.5},
    "sen_cache": {
        "sencache_sensitivities": {
            "timesteps": [500.0],
            "J_x_norm": [1.0],
            "J_t_norm": [0.0],
        },
        "sencache_thresh_main": 1.0,
    },
    "cfg_cache": {"unconditional_batch_timestep_skip_range": (-1, 1000)},
    "static": {"steps_mask": [True, True, False, True, False]},
}
FORECASTS = ("hold", "linear", "damped", "linear_x0", "taylor", "newton", "foca", "dmd")


class Falling(NamedTuple):
    """State of a gate of one's own, whose first sight is infinitely far away."""

    last: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnGate:
    """Reuses every other step, and keeps what a person might."""

    worst: Any = float("inf")

    def init(self, num_steps: Any) -> Falling:
        return Falling(jnp.float32(jnp.inf))

    def decide(self, state: Falling, step: jax.Array, signal: jax.Array) -> Verdict:
        state = Falling(jnp.minimum(state.last, self.worst))
        return Verdict(step % 2 == 0, jnp.float32(jnp.nan), jnp.float32(jnp.inf), state)

    def record(self, state: Falling) -> Falling:
        return state


def _own(**options: Any) -> Any:
    given = {"noise": NOISE, "condition": TEXT, "cache": "tea_cache"} | OWN | options
    return sample(WEIGHTS, **given)


def _wide(dtype: str, **options: Any) -> Any:
    """In another dtype; without x64 a float64 is a float32, and JAX says so."""
    given = {"noise": np.asarray(NOISE, dtype), "condition": np.asarray(TEXT, dtype)}
    weights = np.asarray(WEIGHTS, dtype)

    def network(w: Any, x: jax.Array, t: jax.Array, c: jax.Array) -> jax.Array:
        return whole(w, x, t.astype(x.dtype), c)

    return sample(weights, model=network, num_inference_steps=STEPS, **given, **options)


def _cached(cache: str | None, **options: Any) -> Any:
    config = CONFIGS.get(cache or "")
    return _own(cache=cache, cache_config=config, **options)


def _tabled(**options: Any) -> Any:
    """By a table, which says how many steps there are."""
    given = {"noise": NOISE, "condition": TEXT, "model": MODEL} | options
    return sample(WEIGHTS, cache="bespoke", cache_config={"table": TABLE}, **given)


GUIDED = {"negative_condition": OTHER, "guidance_scale": 2.0}


_ROWS = [(NOISE[:1], TEXT[:1]), (NOISE[1:], TEXT[1:])]


def _requests() -> list[Request]:
    return [
        Request(noise=noise, condition=text, num_inference_steps=steps)
        for steps, (noise, text) in zip((4, 5, 3), (*_ROWS, _ROWS[0]), strict=True)
    ]


def _many(cache: Any, **options: Any) -> Any:
    shared = {"cache": cache, "model": MODEL} | options
    return sample_many(WEIGHTS, _requests(), slots=2, **shared)


def _stream(cache: Any = "cache_dit") -> Any:
    shared = {"cache": cache, "model": MODEL, "max_inference_steps": STEPS}
    stream = serve(WEIGHTS, slots=2, **shared)
    return [outcome.unwrap() for outcome in stream.feed(_requests())]


def _served() -> Any:
    stream = serve(
        WEIGHTS,
        slots=2,
        cache="step_cache",
        model=MODEL,
        max_inference_steps=STEPS,
        example=_requests()[0],
    )
    with Server(stream) as server:
        return [server.submit(one).result(300) for one in _requests()]


def _calibrated(cache: str, **options: Any) -> Any:
    samples = {"noise": NOISE, "condition": TEXT}
    found = calibrate(
        WEIGHTS,
        MODEL,
        samples,
        # DBCache's warm-up alone takes four of them, by its default.
        target={"model_calls": 4 if cache == "cache_dit" else 3},
        cache=cache,
        num_inference_steps=7 if cache == "tea_cache" else STEPS,
        solver="euler",
        **options,
    )
    return [found.cache_config]


@functools.cache
def _bundled(name: str) -> Any:
    return jax.device_put(jax_stepcache.load_params(name))


LABELS = {"label": jnp.arange(2)}
KEY = jax.random.key(7)


def _key() -> jax.Array:
    """A key that nobody has used."""
    return jax.random.clone(KEY)


def _digits(**options: Any) -> Any:
    given = {"observation": LABELS, "key": _key(), "num_inference_steps": 4} | options
    result = sample(_bundled("dit"), **given)
    return result, _bundled("dit").model.decode(result.sample)


@functools.cache
def _table() -> Any:
    return _bundled("tabletop").model.example(_key(), 2)


def _tabletop(**options: Any) -> Any:
    given = {"observation": _table(), "key": _key(), "num_inference_steps": 4} | options
    result = sample(_bundled("tabletop"), **given)
    return result, _bundled("tabletop").model.decode(result.sample)


def _drive() -> Any:
    from jax_stepcache.models.dreamzero import DreamZeroPipeline
    from jax_stepcache.models.tabletop import drive

    config = {"velocity_sim_thresholds": [0.5], "velocity_skip_countdowns": [2]}
    pipe = DreamZeroPipeline(
        _bundled("tabletop"), cache_backend="step_cache", cache_config=config
    )
    taken = drive(pipe, _key(), robots=1, control_steps=2, num_inference_steps=3)
    return [(step.video, step.action) for step in taken.steps]


@functools.cache
def _prompts() -> Any:
    from ..models.dreamzero.robots import prompts

    return prompts(1)


def _robots(many: bool = False) -> Any:
    from ..models.dreamzero.robots import observation, pipeline

    config = CONFIGS["step_cache"]
    pipe = pipeline(cache_backend="step_cache", cache_config=config)
    text, negative = _prompts()
    session = pipe.start(text, negative)
    steps = {"num_inference_steps": 3}
    if many:
        other = pipe.start(text, negative)
        shown = [observation(1, seed) for seed in (1, 2)]
        taken = pipe.step_many([session, other], shown, slots=2, **steps)
        return [(one.video, one.action) for one in taken]
    for seed in (1, 2):
        taken = pipe(session, observation(1, seed), key=_key(), **steps)
        session = pipe.prompt(taken.session, text, negative)
    return taken.video, taken.action


def _bfloat16(name: str) -> Any:
    params = _half(name)
    shown = LABELS if name == "dit" else _table()
    return sample(
        params, observation=shown, key=_key(), cache="cache_dit", num_inference_steps=3
    )


@functools.cache
def _half(name: str) -> Any:
    return jax.device_put(jax_stepcache.load_params(name, dtype="bfloat16"))


def _trained() -> Any:
    from jax_stepcache.models.dit import DiTModel
    from jax_stepcache.models.dit.train import Settings, train
    from jax_stepcache.models.dit.training.digits import Digits

    from ..models.dit.small import SMALL

    digits = Digits(np.zeros((4, 4, 4, 1), np.float32), np.arange(4, dtype=np.int32))
    settings = Settings(steps=2, batch=4, warmup=1, accumulate=2)
    with tempfile.TemporaryDirectory() as folder:
        return train(settings, DiTModel(SMALL), digits, Path(folder) / "run").averaged


def _finetuned(lora: int) -> Any:
    from jax_stepcache import Params
    from jax_stepcache.models.dreamzero.training import (
        FinetuneSettings,
        finetune,
        save_chunks,
    )

    from ..models.dreamzero.small import SMALL, random_weights
    from ..models.dreamzero.training.sequences import MODEL, random_chunks

    settings = FinetuneSettings(steps=2, batch=2, lora=lora, accumulate=2)
    params = Params(jax.device_put(random_weights(SMALL)), MODEL)
    with tempfile.TemporaryDirectory() as folder:
        save_chunks(Path(folder) / "data", random_chunks(MODEL, 2))
        tuned = finetune(params, Path(folder) / "data", Path(folder) / "run", settings)
    return tuned.weights


def _tabletop_trained() -> Any:
    from jax_stepcache.models.tabletop import TabletopModel, tabletop_config
    from jax_stepcache.models.tabletop.train import Settings, train

    model = TabletopModel(tabletop_config(dim=32, num_layers=1))
    settings = Settings(steps=2, batch=2, warmup=1)
    with tempfile.TemporaryDirectory() as folder:
        return train(settings, model, Path(folder) / "run").averaged


def _inside_jit() -> Any:
    return _jitted(NOISE)


@jax.jit
def _jitted(noise: jax.Array) -> Any:
    return _own(noise=noise, cache="cache_dit")


@jax.jit
def _mapped(noise: jax.Array) -> Any:
    alone = functools.partial(_own, condition=TEXT[:1], cache="step_cache")
    return jax.vmap(lambda x: alone(noise=x[None]))(noise)


def _read() -> Any:
    result = _own(cache="tea_cache")
    text = str(summary(result))
    stats = jax.device_get(result.stats)
    assert np.isnan(stats.signal[0]), "nothing was looked at"
    assert np.isnan(stats.threshold[0])
    assert np.isfinite(stats.signal[1]), text
    return result


DECIDE = ("batch", "sample")
QUICK: dict[str, Callable[[], Any]] = {
    "tea_cache read": _read,
    "cache_dit guided": lambda: _cached("cache_dit", **GUIDED),
    "sea_cache apart": lambda: _cached("sea_cache", decide="sample"),
    "own gate, many": lambda: _many(compose(gate=OwnGate(), span="blocks")),
    "dit": lambda: _digits(cache="step_cache"),
    "tabletop's example": lambda: _bundled("tabletop").model.example(_key(), 2),
}
REST: dict[str, Callable[[], Any]] = {
    **{
        f"{cache} {decide}{' guided' * bool(guided)}": functools.partial(
            _cached, cache, decide=decide, **guided
        )
        for cache in (None, *_BACKENDS)
        if cache not in ("tuned", "bespoke")
        for decide in DECIDE
        for guided in ({}, GUIDED)
    },
    **{
        f"bespoke {decide}{' guided' * bool(guided)}": functools.partial(
            _tabled, decide=decide, **guided
        )
        for decide in DECIDE
        for guided in ({}, GUIDED)
    },
    **{
        f"{forecast} {solver}": functools.partial(
            _cached, "static", forecast=forecast, solver=solver, model=whole
        )
        for forecast in FORECASTS
        for solver in ("euler", "unipc")
    },
    **{
        f"{forecast} in {dtype}": functools.partial(
            _wide,
            dtype,
            cache="static",
            cache_config=CONFIGS["static"],
            solver=solver,
            forecast=forecast,
        )
        for dtype in ("bfloat16", "float16", "float64")
        for forecast, solver in zip(FORECASTS, ("unipc", "euler") * 4, strict=True)
    },
    **{
        f"{name} in bfloat16": functools.partial(_bfloat16, name)
        for name in ("dit", "tabletop")
    },
    **{
        f"own gate {decide}": functools.partial(
            _own, cache=compose(gate=OwnGate(), span=span), decide=decide
        )
        for decide in DECIDE
        for span in ("network", "blocks")
    },
    "guidance per sample": lambda: _cached(
        "step_cache", negative_condition=OTHER, guidance_scale=[1.0, 3.0]
    ),
    "drawn for": lambda: _digits(key=None, decide="sample"),
    "of its own observation": lambda: _digits(observation=None),
    "pipeline": lambda: Pipeline(WEIGHTS, model=MODEL, cache_backend="tea_cache")(
        noise=NOISE, condition=TEXT, num_inference_steps=STEPS
    ),
    "progress": lambda: _own(progress=_told),
    "inside jit": _inside_jit,
    "inside vmap": lambda: _mapped(NOISE),
    "many": lambda: _many("step_cache"),
    "many inside": lambda: _many("cache_dit"),
    "stream": _stream,
    "server": _served,
    **{
        f"calibrate {cache}": functools.partial(_calibrated, cache)
        for cache in ("tea_cache", "mag_cache", "cache_dit", "sea_cache", "step_cache")
    },
    "calibrate a schedule": lambda: _calibrated("tuned"),
    **{
        f"dit {cache} {decide}": functools.partial(_digits, cache=cache, decide=decide)
        for cache in ("tea_cache", "cache_dit", "sea_cache")
        for decide in DECIDE
    },
    "dit tuned": lambda: _digits(cache="tuned", budget=5, num_inference_steps=None),
    "tabletop": lambda: _tabletop(cache="step_cache"),
    "tabletop inside": lambda: _tabletop(cache="cache_dit", decide="sample"),
    "tabletop tuned": lambda: _tabletop(
        cache="tuned", budget=5, num_inference_steps=None
    ),
    "drive": _drive,
    "training": _trained,
    "training on demonstrations": _tabletop_trained,
    "fine-tuning": lambda: _finetuned(lora=0),
    "fine-tuning adapters": lambda: _finetuned(lora=2),
    "robots": _robots,
    "robots as requests": lambda: _robots(many=True),
}


def _told(step: Any, computed: Any, *, num_steps: int) -> None:
    del step, computed, num_steps


@contextlib.contextmanager
def _on(*names: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(SWITCHES[name]())
        yield


# Guided per sample, or neither: what each of the two does to dtypes and to tracers it
# does without the other.
APART = [
    name
    for name in REST
    if not name.endswith((" batch guided", " sample"))
    or not name.startswith(("None", "bespoke", *_BACKENDS))
]
# What needs a program of its own, or none: all of them at once, for time's sake.
TOGETHER = ("nans", "infs", "rank", "strict", "reuse", "legacy")
# Runs once, and begins with many small operations: nothing is called a second time.
ONCE = ("train", "fine-tun")


def _again(entry: Callable[[], Any], *, guarded: bool = True) -> Any:
    """Calls it, and again while nothing may be sent in passing."""
    found = entry()
    if guarded:
        with _on("guard"):
            found = jax.block_until_ready(entry())
    return found


@pytest.mark.parametrize("bits", [(), ("x64",)], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("name", QUICK)
def test_the_most_telling(name: str, bits: tuple[str, ...]) -> None:
    """All switches, on a path through most of the library."""
    with _on(*TOGETHER, *bits):
        _again(QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_all_of_it(name: str) -> None:
    """Each cache, entry point, model and training, under all switches."""
    with _on(*TOGETHER):
        _again(REST[name], guarded=not name.startswith(ONCE))


@pytest.mark.slow
@pytest.mark.parametrize("name", APART)
def test_in_64_bits(name: str) -> None:
    """Likewise where a number that nobody has given a dtype is a float64."""
    with _on(*TOGETHER, "x64"):
        _again(REST[name], guarded=not name.startswith(ONCE))


@pytest.mark.slow
def test_no_tracer_leaks() -> None:
    """Nothing that is traced outlives its trace."""
    with _on("leaks"):
        _cached("cache_dit", decide="sample")
        _many("step_cache")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in APART if " in " not in name])
def test_no_tracer_leaks_anywhere(name: str) -> None:
    """Likewise, for all of it but other dtypes, which trace the same."""
    with _on("leaks"):
        REST[name]()


@pytest.mark.parametrize("names", [("nans", "infs"), ("x64",), ("guard",)])
def test_a_switch_changes_nothing(names: tuple[str, ...]) -> None:
    """Decisions, signals and samples are those without it."""
    wanted = jax.device_get(_own(cache="cache_dit", cache_config=CONFIGS["cache_dit"]))
    with _on(*names):
        found = jax.device_get(
            _own(cache="cache_dit", cache_config=CONFIGS["cache_dit"])
        )
        signal, threshold = found.stats.signal, found.stats.threshold
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    np.testing.assert_array_equal(np.isnan(signal), np.isnan(wanted.stats.signal))
    assert np.isnan(signal).any()
    assert not np.isnan(signal).all()
    np.testing.assert_allclose(signal, wanted.stats.signal, rtol=1e-6)
    np.testing.assert_array_equal(threshold, wanted.stats.threshold)
    np.testing.assert_allclose(found.sample, wanted.sample, rtol=1e-6)


def test_a_nan_of_the_models_own_is_found() -> None:
    """With the switch JAX stops at it; without, the result tells of it."""

    def broken(w: Any, x: jax.Array, t: jax.Array, c: Any) -> jax.Array:
        return jnp.log(x)

    given = {"model": broken, "noise": NOISE, "num_inference_steps": 3}
    assert sample((), cache="step_cache", **given).stats.nonfinite
    with _on("nans"), pytest.raises(FloatingPointError):
        sample((), cache="step_cache", **given)


@pytest.mark.parametrize(
    "cache",
    [
        None,
        "step_cache",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("cache_dit", "sea_cache")
        ),
    ],
)
def test_step_by_step(cache: str | None) -> None:
    """Who looks for a NaN goes on with `jax.disable_jit`, operation by operation."""
    with _on("nans"), jax.disable_jit():
        result = _cached(cache)
        assert np.isnan(result.stats.signal[0])


def test_what_was_not_looked_at_is_nan_wherever_it_is_read() -> None:
    """From a result, inside `jax.jit`, from a row of a batch and from a struct."""
    result = _own(cache="tea_cache")
    inside = jax.jit(lambda r: r.stats.signal)(result)
    apart = _own(cache="tea_cache", decide="sample").stats
    row = jax.tree.map(lambda x: x[1], apart)
    shape = jax.eval_shape(lambda: _own(cache="tea_cache")).stats.signal
    for signal in (result.stats.signal, inside, apart.signal[0], row.signal):
        assert signal.dtype == jnp.float32
        assert np.isnan(signal[0])
        assert not np.isnan(signal[1])
    assert (shape.shape, shape.dtype) == ((STEPS,), jnp.float32)
    assert result.stats._asdict()["signal"].dtype == jnp.float32
    loaded = pickle.loads(pickle.dumps(result.stats))
    for stats in (result.stats, copy.deepcopy(result.stats), loaded):
        assert np.isnan(stats.signal[0])
        leaves = jax.tree.leaves(stats)
        assert not any(np.issubdtype(x.dtype, np.floating) for x in leaves)

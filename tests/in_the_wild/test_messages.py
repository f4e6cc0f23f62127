"""What users get wrong is told by name, at every way into the library."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import (
    CacheDiTBackend,
    DiffusionCacheConfig,
    Euler,
    FirstBlockCacheConfig,
    Pipeline,
    Request,
    Server,
    StepCacheBackend,
    StepCacheConfig,
    Taylor,
    TeaCacheBackend,
    calibrate,
    compose,
    db_cache,
    explicit_schedule,
    flow_schedule,
    load_model,
    load_params,
    mask_of_steps,
    sample,
    sample_many,
    save_params,
    serve,
    summary,
    tea_cache,
)
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop.drive import drive
from jax_stepcache.policy.gates import Mask

from ..networks import dense
from ..small_model import small_noise, small_params
from ..staged import NUM_STEPS, UNROLLED, WEIGHTS, options

ROW = np.ones((1, 6), np.float32)
MATRIX = np.eye(6, dtype=np.float32)
REQUEST = {"noise": ROW, "condition": ROW, "num_inference_steps": 3}


def never(params, x, t, condition):
    raise AssertionError("the network was traced")


@pytest.fixture(scope="module")
def server():
    """One that runs, for requests to be refused by."""
    with Server(serve(MATRIX, model=dense, slots=1, example=REQUEST)) as running:
        yield running


def _many(**wrong):
    own = {k: wrong.pop(k) for k in list(wrong) if k in Request.__dataclass_fields__}
    return sample_many(MATRIX, [REQUEST | own], model=never, slots=1, **wrong)


def _served(**wrong):
    return serve(MATRIX, model=never, example=REQUEST | wrong)


def _calibrated(**wrong):
    given = REQUEST | {"cache": "step_cache"} | wrong
    samples = {k: given.pop(k) for k in ("noise", "condition")}
    return calibrate(MATRIX, never, samples, target={"model_calls": 2}, **given)


WAYS = {
    "sample": lambda **wrong: sample(MATRIX, model=never, **REQUEST | wrong),
    "decide": lambda **wrong: sample(
        MATRIX, model=never, decide="sample", **REQUEST | wrong
    ),
    "sample_many": _many,
    "serve": _served,
    "calibrate": _calibrated,
    "Pipeline": lambda **wrong: Pipeline(MATRIX, model=never, cache_backend="none")(
        **REQUEST | wrong
    ),
}
# Each is what came; the message names the argument, and what is wanted.
WRONG = {
    "a seed": ({"key": 42}, r"key is 42; give jax\.random\.key\(42\)"),
    "keys": ({"key": jax.random.split(jax.random.key(0))}, r"key has shape \(2,\)"),
    "a text": ({"condition": "a cat"}, "condition is 'a cat', of type str; give array"),
    "a text inside": (
        {"condition": {"image": ROW, "text": ["a cat"]}},
        r"condition\['text'\]\[0\] is 'a cat', of type str",
    ),
    "an array of texts": (
        {"condition": np.array(["a cat"])},
        "condition is array.*; give arrays or numbers: text goes through an encoder",
    ),
    "a function": (
        {"condition": {"act": jnp.tanh}},
        r"condition\['act'\] is .*tanh.*; give arrays .* into the model",
    ),
    "noise by name": ({"noise": "normal"}, "noise is 'normal', of type str"),
    "a scale in quotes": ({"guidance_scale": "2"}, "guidance_scale is '2'; it must be"),
    "a flag for steps": (
        {"num_inference_steps": True},
        "num_inference_steps is True; it must be a whole number",
    ),
    "steps in quotes": ({"num_inference_steps": "4"}, "num_inference_steps is '4'"),
    "a shift in quotes": ({"shift": "5"}, "shift is '5'; it must be numeric"),
    "shifts": ({"shift": [1, 2]}, r"shift is \[1, 2\]; it must be a number"),
    "a noise level in quotes": ({"final_noise": "0.2"}, "final_noise is '0.2'; it"),
    "a list for a schedule": (
        {"schedule": [1.0, 0.0], "num_inference_steps": None},
        "schedule is .*; give what flow_schedule",
    ),
    "a solver's number": ({"solver": 5}, "solver is 5; give 'unipc', 'euler', or an"),
    "a solver's class": ({"solver": Euler}, r"solver is <class .*Euler\(\)"),
}
CONFIGS = {
    "DBCache": ("dbcache", None, "'dbcache'. Did you mean 'cache_dit'"),
    "FBCache": ("FBCache", None, "'FBCache'. Did you mean 'first_block_cache'"),
    "TeaCache": ("TeaCache", None, "'TeaCache'. Did you mean 'tea_cache'"),
    "a list": ("cache_dit", [1], "cache_config is a list; give a dict"),
    "blocks": (
        "cache_dit",
        {"Fn_compute_blocks": [1]},
        r"Fn_compute_blocks is \[1\]; it must be a whole number",
    ),
    "an order": (
        "cache_dit",
        {"enable_taylorseer": True, "taylorseer_order": np.array([1])},
        r"taylorseer_order is array\(\[1\]\); it must be a whole number",
    ),
    "a policy of masks": (
        "cache_dit",
        {"scm_steps_mask_policy": ["fast"]},
        r"scm_steps_mask_policy \['fast'\]. Did you mean 'fast'",
    ),
    "bins": (
        "cache_dit",
        {"scm_compute_bins": 3, "scm_cache_bins": 5},
        "scm_compute_bins is 3; it must be a row",
    ),
    "calls": ("static", {"num_dit_steps": [5]}, r"num_dit_steps is \[5\]; DreamZero"),
    "history": (
        "step_cache",
        {"step_cache_dit_min_history": [2]},
        r"step_cache_dit_min_history is \[2\]; it must be a whole number",
    ),
    "half a velocity": (
        "step_cache",
        {"step_cache_dit_max_history": 2.5},
        r"step_cache_dit_max_history is 2\.5; it must be a whole number",
    ),
    "cosines in quotes": (
        "step_cache",
        {"velocity_sim_thresholds": ["a"], "velocity_skip_countdowns": [1]},
        r"velocity_sim_thresholds is \['a'\]; it must be numeric",
    ),
    "a word for a flag": (
        "step_cache",
        {"step_cache_dit_enabled": "no"},
        "step_cache_dit_enabled is 'no'; give True or False",
    ),
    "a list for a flag": (
        "mag_cache",
        {"mag_calibrate": [1]},
        r"mag_calibrate is \[1\]",
    ),
    "an output's number": (
        "sea_cache",
        {"signal_output": 5},
        "signal_output is 5; give",
    ),
    "an output": (
        "step_cache",
        {"signal_output": "video"},
        "compares the output 'video'; the sample has no outputs with names",
    ),
    "a residual's order": (
        "sea_cache",
        {"sea_residual_order": [1]},
        r"sea_residual_order is \[1\]",
    ),
    "a forecast's name": (
        "tea_cache",
        {"forecast": ["hold"]},
        r"forecast is \['hold'\]",
    ),
}


def _refused(run, message):
    """Runs into an error of the right kind, with these words."""
    with pytest.raises((TypeError, ValueError), match=message):
        run()


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("way", WAYS)
def test_what_came_is_named_before_anything_is_traced(way, wrong):
    """The argument, what it was given as and what would do, whichever way in."""
    given, message = WRONG[wrong]
    if way == "serve" and "solver" in given:
        _refused(lambda: serve(MATRIX, model=never, example=REQUEST, **given), message)
        return
    if way == "calibrate":
        message = re.sub(r"^(condition|noise)", r"samples\\['\1'\\]", message)
    _refused(lambda: WAYS[way](**given), message)


@pytest.mark.parametrize("wrong", [w for w in WRONG if "solver" not in w])
def test_a_server_refuses_in_the_callers_thread(server, wrong):
    """A request that does not fit is told by `submit`; others go on."""
    given, message = WRONG[wrong]
    _refused(lambda: server.submit(REQUEST | given), message)
    assert server.submit(REQUEST).result().stats.model_calls == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout": "2"}, "timeout is '2'; it must be numeric"),
        ({"timeout": np.nan}, "timeout is nan; it must be finite"),
        ({"block": "no"}, "block is 'no'; give True or False"),
        ({"deadline": "1"}, "deadline is '1'; it must be numeric"),
        ({"priority": "high"}, "priority is 'high'; it must be numeric"),
    ],
)
def test_how_a_request_waits_is_checked_where_there_is_room(server, given, message):
    """Not for the first time when the server is full."""
    _refused(lambda: server.submit(REQUEST, **given), message)


@pytest.mark.parametrize("what", CONFIGS)
def test_settings_of_the_wrong_kind_are_named(what):
    """Whatever has no hash, no number or no name says which setting it was."""
    cache, config, message = CONFIGS[what]

    def run():
        given = {"model": UNROLLED, **options()}
        return sample(WEIGHTS, cache=cache, cache_config=config, **given)

    _refused(run, message)


def test_whole_numbers_of_other_libraries_are_numbers():
    """What is compiled in may be NumPy's or JAX's; the program is the same."""
    assert Taylor(jnp.int32(2)) == Taylor(np.int64(2)) == Taylor(2)
    config = {"Fn_compute_blocks": jnp.int32(1), "Bn_compute_blocks": np.int8(1)}
    given = {"model": UNROLLED, **options()}
    result = sample(WEIGHTS, cache="cache_dit", cache_config=config, **given)
    assert result.stats.computed.shape == (NUM_STEPS,)


TYPOS = {
    "sample": (lambda: sample(MATRIX, num_steps=3), "num_steps", "num_inference_steps"),
    "sample, seed": (lambda: sample(MATRIX, seed=3), "seed", "key"),
    "sample, cfg": (lambda: sample(MATRIX, cfg_scale=3), "cfg_scale", "guidance_scale"),
    "Request": (lambda: Request(negativ_condition=1), "negativ_", "negative_condition"),
    "sample_many": (lambda: sample_many(MATRIX, [REQUEST], modle=1), "modle", "model"),
    "serve": (lambda: serve(MATRIX, slot=1), "slot", "slots"),
    "calibrate": (
        lambda: _calibrated(num_infrence_steps=4),
        "num_infrence_steps",
        "num_inference_steps",
    ),
    "Pipeline": (lambda: Pipeline(MATRIX, cache="static"), "cache", "cache_backend"),
    "a pipeline": (
        lambda: Pipeline(MATRIX, model=never)(condtion=1),
        "condtion",
        "condition",
    ),
    "DreamZeroPipeline": (
        lambda: DreamZeroPipeline(small_params(), cache="static"),
        "cache",
        "cache_backend",
    ),
    "DiffusionCacheConfig": (
        lambda: DiffusionCacheConfig(rel_l1_tresh=0.2),
        "rel_l1_tresh",
        "rel_l1_thresh",
    ),
    "StepCacheConfig": (
        lambda: StepCacheConfig(sim_treshold=[0.9]),
        "sim_treshold",
        "sim_thresholds",
    ),
    "FirstBlockCacheConfig": (
        lambda: FirstBlockCacheConfig(tresh=0.2),
        "tresh",
        "threshold",
    ),
    "db_cache": (lambda: db_cache(treshold=0.2), "treshold", "threshold"),
    "tea_cache": (lambda: tea_cache(rel_l1_thresh=0.2), "rel_l1_thresh", "threshold"),
    "load_params": (lambda: load_params("dit", dytpe="bfloat16"), "dytpe", "dtype"),
    "load_model": (lambda: load_model(sorce="dit"), "sorce", "source"),
    "save_params": (lambda: save_params("x", parms=1), "parms", "params"),
    "flow_schedule": (
        lambda: flow_schedule(4, final_noize=0.5),
        "final_noize",
        "final_noise",
    ),
    "explicit_schedule": (lambda: explicit_schedule(sigma=[1, 0]), "sigma", "sigmas"),
    "summary": (lambda: summary(name=["a"]), "name", "names"),
    "compose": (lambda: compose(gates=Mask([1])), "gates", "gate"),
}


@pytest.mark.parametrize("what", TYPOS)
def test_a_name_that_is_none_has_the_nearest_right_one(what):
    """Typos, and what other libraries call it, wherever arguments have names."""
    run, given, meant = TYPOS[what]
    with pytest.raises(TypeError, match=rf"'{given}.*Did you mean '{meant}'"):
        run()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: explicit_schedule("abc"), "sigmas is 'abc'; it must list numbers"),
        (lambda: explicit_schedule(None), "sigmas"),
        (lambda: mask_of_steps("a", 4), "steps is 'a'; give indices, whole numbers"),
        (lambda: mask_of_steps([0, 1.5], 4), r"steps is \[0, 1\.5\]; give indices"),
        (lambda: mask_of_steps([0], "4"), "num_steps is '4'; it must be a whole"),
        (
            lambda: sample(MATRIX, model=never, **REQUEST, guidance_scale=1j),
            "guidance_scale is 1j; it must be numeric",
        ),
        (
            lambda: sample(MATRIX, model=_NoHash, **REQUEST),
            "model is <class .*_NoHash'>, a class; give an object of it",
        ),
    ],
)
def test_what_is_given_to_a_function_is_named(run, message):
    """Not what NumPy or Python says of it further in."""
    _refused(run, message)


def test_fields_of_requests_that_are_mappings_have_the_nearest_name():
    """Likewise, with the index of the request."""
    message = r"requests\[1\]: .*'latents'. Did you mean 'noise'"
    with pytest.raises(ValueError, match=message):
        sample_many(MATRIX, [REQUEST, {"latents": ROW}], model=never)


@pytest.mark.parametrize(
    "run",
    [
        lambda: sample("tabletop"),
        lambda: sample_many("tabletop", [{}]),
        lambda: serve("tabletop"),
        lambda: calibrate("tabletop", target={"model_calls": 4}),
        lambda: Pipeline("tabletop"),
    ],
)
def test_the_name_of_a_model_is_not_its_params(run):
    """`load_params` makes them of it."""
    message = r"params is 'tabletop', a name; give what load_params\('tabletop'\)"
    with pytest.raises(TypeError, match=f"^{message}"):
        run()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"w": MATRIX, "act": "gelu"}, r"params\['act'\] is 'gelu', of type str"),
        ([MATRIX, jnp.tanh], r"params\[1\] is .*tanh.*; give arrays or numbers"),
        ("w", "params is 'w', of type str"),
    ],
)
def test_weights_are_arrays(weights, message):
    """What else is among them is told by its path."""
    with pytest.raises(TypeError, match=message):
        sample(weights, model=never, **REQUEST)


@pytest.mark.parametrize(
    "backend", [StepCacheBackend, TeaCacheBackend, CacheDiTBackend]
)
@pytest.mark.parametrize("given", [42, "pipeline", never, Pipeline])
def test_a_backend_is_enabled_on_a_pipeline(backend, given):
    """And refreshed for a number of steps."""
    name = type(given).__name__
    with pytest.raises(ValueError, match=rf"support {name}|{name} has no \w+ that a"):
        backend().enable(given)
    with pytest.raises(ValueError, match=rf"{name} has no model"):
        backend().refresh(given, 4)
    with pytest.raises(ValueError, match="is not enabled on this pipeline"):
        backend().disable(given)
    pipeline = Pipeline(WEIGHTS, model=UNROLLED)
    with pytest.raises(ValueError, match="num_inference_steps is '4'"):
        backend().refresh(pipeline, "4")


def test_robots_are_driven_by_a_pipeline_and_a_key():
    """A seed, or params, in their place are told."""
    with pytest.raises(TypeError, match="pipeline is a Params; give Dream"):
        drive(load_params("tabletop"), jax.random.key(0))
    pipeline = DreamZeroPipeline(load_params("tabletop"))
    with pytest.raises(TypeError, match=r"key is 42; give jax\.random\.key\(42\)"):
        drive(pipeline, 42)
    with pytest.raises(ValueError, match="robots is '2'; it must be a whole number"):
        drive(pipeline, jax.random.key(0), robots="2")
    with pytest.raises(ValueError, match="guidance_scale is '2'; it must be numeric"):
        DreamZeroPipeline(load_params("tabletop"), guidance_scale="2")


def test_rows_that_do_not_go_together_are_named():
    """Where a user's network fails, and a condition has other rows than the noise."""
    message = r"the noise has 1 rows and condition\['c'\] has shape \(3, 6\): "
    given = {"noise": ROW[:, :5], "condition": {"c": np.ones((3, 6), np.float32)}}

    def network(params, x, t, condition):
        return x + condition["c"]

    with pytest.raises(ValueError, match=message) as error:
        sample((), model=network, num_inference_steps=2, **given)
    assert isinstance(error.value.__cause__, TypeError | ValueError)


def test_a_networks_own_error_stays_what_it_is():
    """Where rows are as they should be, nothing is put in its place."""

    def network(params, x, t, condition):
        raise ValueError("the user's own words")

    with pytest.raises(ValueError, match=r"^the user's own words"):
        sample((), model=network, num_inference_steps=2, noise=ROW, condition=ROW)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            lambda: sample(small_params(), noise={"video": small_noise()["video"]}),
            ["noise has structure {'video': array [1, 6]}", "'action': array [1, 3]"],
        ),
        (
            lambda: sample(
                (), model=lambda w, x, t, c: {"a": x}, noise=ROW, num_inference_steps=2
            ),
            ["velocity has shapes {'a': array [1, 6]}; the sample has array [1, 6]"],
        ),
        (
            lambda: sample(
                (), model=never, noise=ROW, schedule={"video": None}, cache="step_cache"
            ),
            ["schedule is {'video': None}; give what flow_schedule"],
        ),
        (
            lambda: sample(
                (), model=never, noise=ROW, cache="step_cache", forecast={"a": "hold"}
            ),
            ["forecast is given as {'a': Hold}", "a sample of array [1, 6]"],
        ),
    ],
)
def test_structures_are_told_in_the_users_words(run, words):
    """Names and shapes; nobody needs to know what JAX calls them."""
    with pytest.raises((TypeError, ValueError)) as error:
        run()
    assert "PyTreeDef" not in str(error.value)
    for word in words:
        assert word in str(error.value)


class _NoHash:
    """As a dataclass that may be written to."""

    __hash__ = None

    def __init__(self, sign):
        self.sign = sign

    def __eq__(self, other):
        raise AssertionError("who it is, is asked, and not what it is like")

    def __call__(self, params, x, t, condition):
        return self.sign * dense(params, x, t, condition)


@pytest.mark.parametrize("way", ["sample", "decide", "many", "calibrate"])
def test_a_model_without_a_hash_is_told_from_others_by_who_it_is(way):
    """It runs, and another one is another program."""
    one, other = _NoHash(1.0), _NoHash(-1.0)

    def run(model):
        if way == "many":
            return sample_many(MATRIX, [REQUEST], model=model)[0].sample
        if way == "calibrate":
            shared = {"target": {"model_calls": 2}, "cache": "step_cache"}
            samples = {"noise": ROW, "condition": ROW}
            found = calibrate(MATRIX, model, samples, num_inference_steps=3, **shared)
            return found.model_calls
        decide = "sample" if way == "decide" else "batch"
        return sample(MATRIX, model=model, decide=decide, **REQUEST).sample

    first, again, another = run(one), run(one), run(other)
    np.testing.assert_array_equal(first, again)
    if way != "calibrate":
        assert np.abs(first - another).max() > 1e-2


def test_a_solver_without_a_hash_is_refused():
    """It is compiled in."""

    class Own:
        __hash__ = None
        tables, init, step = Euler().tables, Euler().init, Euler().step

    with pytest.raises(TypeError, match=r"solver is .*, which has no hash"):
        sample(MATRIX, model=never, solver=Own(), **REQUEST)


def test_a_policy_that_is_no_pytree_is_refused():
    """With the way to make one of it; and what is no number in one is told by name."""

    class Own:
        def decide(self, state, view):
            raise AssertionError("never asked")

    run = functools.partial(sample, MATRIX, model=never, **REQUEST)
    with pytest.raises(TypeError, match="cache is a Own, which is no pytree; register"):
        run(cache=Own())
    with pytest.raises(TypeError, match=r"cache\.gate\.mask is 'abc', of type str"):
        run(cache=compose(gate=Mask("abc")))


@pytest.mark.parametrize("progress", ["yes", 1, print.__class__])
def test_progress_is_a_flag_or_a_function(progress):
    """Neither a word nor a class."""
    with pytest.raises(TypeError, match=r"progress is .*; give True, False, or "):
        sample(MATRIX, model=never, progress=progress, **REQUEST)


def test_noise_may_stand_beside_a_key():
    """The noise is taken, and the key is for whoever draws where there is none."""
    key = jax.random.key(1)
    with_key = sample(MATRIX, model=dense, key=key, **REQUEST)
    without = sample(MATRIX, model=dense, **REQUEST)
    np.testing.assert_array_equal(with_key.sample, without.sample)


def test_a_module_in_place_of_a_function_is_told_what_it_is() -> None:
    """Rule: a model is called with four arguments, and who takes others is told how."""

    class Net(nnx.Module):
        def __call__(self, x, t, condition):
            return x + t + condition

    with pytest.raises(TypeError, match=r"model takes \(x.*nnx\.split\(module\)"):
        sample({}, model=Net(), noise=jnp.ones((1, 2)))
    with pytest.raises(TypeError, match=r"model takes \(x, t\), and is called as"):
        sample({}, model=lambda x, t: x + t, noise=jnp.ones((1, 2)))

"""Tables for several guidance scales or shifts, and what lies between them."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    TableFamily,
    as_table,
    family_of,
    flow_schedule,
    sample,
    sample_many,
)

SHIFTS = (1.0, 2.0, 5.0)
TABLES = [as_table("unipc", flow_schedule(3, shift)) for shift in SHIFTS]
BY_SCALE = TableFamily("guidance_scale", (1.5, 2.0, 4.0), TABLES)
BY_SHIFT = TableFamily("shift", SHIFTS, TABLES)


def network(weights, x, t, condition):
    return jnp.tanh(weights * x + condition) + t[:, None] / 1000


GIVEN = {
    "model": network,
    "noise": jnp.linspace(-1.0, 1.0, 4)[None],
    "condition": jnp.ones((1, 4)),
    "negative_condition": jnp.zeros((1, 4)),
}


def sampled(**options):
    return sample(0.7, **GIVEN, **options).sample


@pytest.mark.parametrize(
    ("scale", "shares"),
    [
        (1.5, (1, 0, 0)),
        (2.0, (0, 1, 0)),
        (2.5, (0, 0.75, 0.25)),
        (1.2, (1, 0, 0)),
        (9.0, (0, 0, 1)),
    ],
)
def test_between_two_tables_it_is_on_the_line(scale, shares):
    """At a value its table; beyond the ends the last one; traced, the same."""
    wanted = jax.tree.map(
        lambda *x: sum(s * part for s, part in zip(shares, x, strict=True)), *TABLES
    )
    for found in (
        BY_SCALE.between(scale),
        BY_SCALE.between(np.full(3, scale)),
        jax.jit(BY_SCALE.between)(scale),
    ):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    result = sampled(schedule=BY_SCALE, guidance_scale=scale)
    by_hand = sampled(schedule=wanted, guidance_scale=scale)
    np.testing.assert_allclose(result, by_hand, atol=1e-6)


def test_it_stands_where_a_table_does():
    """As a cache's table, out of JSON, by the shift that is asked for, and in slots."""
    scale = {"guidance_scale": 3.0}
    wanted = sampled(schedule=BY_SCALE, **scale)
    told = json.loads(json.dumps(BY_SCALE.to_json()))
    for table in (BY_SCALE, told):
        config = {"cache": "bespoke", "cache_config": {"table": table}}
        np.testing.assert_array_equal(sampled(**config, **scale), wanted)
    for options in ({"schedule": BY_SHIFT}, {"cache_config": {"table": BY_SHIFT}}):
        cache = {} if "schedule" in options else {"cache": "bespoke"}
        given = sampled(**options, **cache, **scale, shift=2.0)
        by_hand = sampled(schedule=TABLES[1], **scale)
        np.testing.assert_allclose(given, by_hand, atol=1e-6)
    shared = {k: x for k, x in GIVEN.items() if k != "noise"}
    requests = [{"noise": GIVEN["noise"], "guidance_scale": s} for s in (1.5, 3.0)]
    many = sample_many(0.7, requests, slots=2, schedule=BY_SCALE, **shared)
    np.testing.assert_allclose(many[1].sample, wanted, atol=1e-6)


def found(table=TABLES[0], shift=None, **sampler):
    return SimpleNamespace(
        sampler=sampler, fit={"shift": shift}, cache_config={"table": table}
    )


def test_calibrations_make_a_family():
    """In the order of what they differ in, whatever order they come in."""
    by_scale = [found(TABLES[i], guidance_scale=s) for i, s in ((1, 4.0), (0, 2.0))]
    family = family_of(*by_scale)
    assert (family.over, family.at) == ("guidance_scale", (2.0, 4.0))
    np.testing.assert_array_equal(family.tables[0].noise, TABLES[0].noise)
    assert family_of(found(shift=2.0), found(shift=3.0)).over == "shift"
    for some in (
        by_scale[:1],
        [found(), found()],
        [found(), found(guidance_scale=2.0)],
        [found(guidance_scale=1.0, shift=2.0), found(guidance_scale=2.0, shift=3.0)],
        [found(None, guidance_scale=1.0), found(guidance_scale=2.0)],
    ):
        with pytest.raises(ValueError, match="a family is of two calibrations"):
            family_of(*some)


LONGER = as_table("unipc", flow_schedule(4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("guidance", (1, 2), TABLES[:2]), "Did you mean 'guidance_scale'"),
        (("shift", (2, 1), TABLES[:2]), "two values or more, rising"),
        (("shift", (1,), TABLES[:1]), "two values or more, rising"),
        (("shift", (1, 2), TABLES), "3 tables and 2 values"),
        (("shift", (1, 2), [TABLES[0], LONGER]), "differ in calls or outputs"),
        (("shift", (1, 2), [TABLES[0], 3]), "the table at 2 is 3"),
    ],
)
def test_bad_families(given, message):
    """What does not fit together is told before anything is sampled."""
    with pytest.raises((TypeError, ValueError), match=message):
        TableFamily(*given)


def test_a_batch_has_one_table():
    """Samples that ask for tables of their own are requests."""
    with pytest.raises(ValueError, match="differs among the samples of a batch"):
        BY_SCALE.between([1.5, 2.0])
    with pytest.raises(ValueError, match="give either it or num_inference_steps"):
        sampled(schedule=BY_SCALE, guidance_scale=2.0, shift=3.0)

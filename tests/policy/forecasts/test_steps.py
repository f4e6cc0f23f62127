"""Forecasts that go by the step: TaylorSeer's series and SeaCache's polynomial."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Newton, Taylor
from jax_stepcache.policy.forecasts import Point, get_forecast

SHAPE = (3,)
SPREAD = jnp.array([1.0, -0.5, 2.0])

numbers = st.integers(-8, 8).map(lambda n: n / 4)
# Steps that were computed, some way apart, and the one to predict behind them.
uneven = st.lists(st.integers(0, 24), min_size=6, max_size=6, unique=True).map(sorted)


def predicted(forecast, steps, values, at):
    """Takes in a value at each step, and predicts that at another."""
    memory = forecast.init(jnp.zeros(SHAPE))
    for step, value in zip(steps, values, strict=True):
        memory = forecast.record(memory, point(step), jnp.asarray(value, jnp.float32))
    return np.asarray(forecast.predict(memory, point(at)))


def point(step):
    return Point(jnp.int32(step), jnp.float32(0.5), None)


def polynomial(coefficients, steps):
    return [SPREAD * float(np.polyval(coefficients, step / 8)) for step in steps]


@pytest.mark.parametrize("forecast", [Taylor(1), Taylor(2), Taylor(3), Newton(1)])
@given(steps=uneven, line=st.tuples(numbers, numbers), count=st.integers(2, 5))
def test_lines_are_exact(forecast, steps, line, count):
    """A straight line is predicted without error at any spacing, from two values on."""
    *seen, at = steps[-count - 1 :]
    ours = predicted(forecast, seen, polynomial(line, seen), at)
    np.testing.assert_allclose(ours, polynomial(line, [at])[0], atol=2e-4)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@given(
    steps=uneven,
    coefficients=st.lists(numbers, min_size=4, max_size=4),
    more=st.integers(0, 1),
)
def test_newton_is_exact_for_polynomials(order, steps, coefficients, more):
    """Order n predicts polynomials of degree n without error at any spacing."""
    coefficients = coefficients[: order + 1]
    *seen, at = steps[-(order + 2 + more) :]
    ours = predicted(Newton(order), seen, polynomial(coefficients, seen), at)
    expected = polynomial(coefficients, [at])[0]
    scale = max(np.abs(x).max() for x in [*polynomial(coefficients, seen), expected])
    reach = max(at - seen[-1], 1) ** order
    np.testing.assert_allclose(
        ours, expected, atol=3e-6 * (1 + scale) * (1 + reach) * 50
    )


@given(
    square=numbers,
    line=st.tuples(numbers, numbers),
    spacing=st.integers(1, 3),
    reach=st.integers(1, 4),
)
def test_taylors_error_for_squares(square, line, spacing, reach):
    """Its slope is that of half a spacing ago: order 2 misses squares by ``-a h k``.

    Over even spacings h, reaching k: the second difference is right, the first is not.
    """
    coefficients = (square, *line)
    seen = [spacing * i for i in range(1, 5)]
    at = seen[-1] + reach
    error = predicted(Taylor(2), seen, polynomial(coefficients, seen), at)
    error = error - polynomial(coefficients, [at])[0]
    expected = -square * spacing * reach / 64 * SPREAD
    np.testing.assert_allclose(error, expected, atol=2e-4)


@given(steps=uneven, values=st.lists(numbers, min_size=6, max_size=6))
def test_taylor_follows_the_rule(steps, values):
    """TaylorSeer as the papers' code has it, differences and series, to order 2."""
    *seen, at = steps
    known, last = [], -1
    for step, value in zip(seen, values, strict=False):
        new = [value]
        for below in known[:2]:
            new.append((new[-1] - below) / (step - last))
        known, last = new, step
    reach = at - last
    expected = known[0] + known[1] * reach + known[2] * reach**2 / 2
    ours = predicted(Taylor(2), seen, [SPREAD * v for v in values[: len(seen)]], at)
    np.testing.assert_allclose(ours, SPREAD * expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", [Taylor, Newton])
@pytest.mark.parametrize("order", [0, 1, 2])
@given(steps=uneven, values=st.lists(numbers, min_size=2, max_size=2))
def test_what_is_not_known_is_not_used(kind, order, steps, values):
    """One value is held, whatever the order; order 0 holds the last of any number."""
    first, second, at, *_ = steps
    each = [SPREAD * value for value in values]
    one = predicted(kind(order), [first], each[:1], at)
    np.testing.assert_array_equal(one, each[0])
    two = predicted(kind(order), [first, second], each, at)
    slope = (each[1] - each[0]) / (second - first) if order else 0
    np.testing.assert_allclose(two, each[1] + slope * (at - second), atol=1e-3)


def test_taylor_may_begin_late():
    """cache-dit's keeps no difference of what is computed before its fourth step."""
    forecast, values = Taylor(1, first_step=3), [SPREAD * i for i in (1, 2, 4)]
    np.testing.assert_array_equal(predicted(forecast, [0, 1, 2], values, 5), values[-1])
    late = predicted(forecast, [0, 1, 3], values, 5)
    np.testing.assert_allclose(late, SPREAD * (4 + 1 * 2))


@pytest.mark.parametrize("kind", [Taylor, Newton])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_memory_is_a_buffer_for_each_order(kind, order):
    """Order n remembers n + 1 arrays of the value's size, and not one more."""
    memory = kind(order).init(jnp.zeros((2, 5, 7)))
    for step in (1, 2):
        large = [x for x in jax.tree.leaves(memory) if x.size >= 2 * 5 * 7]
        assert [x.shape for x in large] == [(2, 5, 7)] * (order + 1)
        rest = sum(x.size for x in jax.tree.leaves(memory)) - sum(x.size for x in large)
        assert rest <= order + 2
        memory = kind(order).record(memory, point(step), jnp.ones((2, 5, 7)))
    assert jax.tree.leaves(kind(order)) == []


def test_one_program_serves_any_steps():
    """Steps are data: under `jit` nothing is compiled for another spacing."""
    traces = []

    @jax.jit
    def ahead(memory, at):
        traces.append(at)
        return Newton(1).predict(memory, at)

    memory = Newton(1).init(jnp.zeros(SHAPE))
    for step in (0, 3, 4):
        memory = Newton(1).record(memory, point(step), SPREAD * step)
        ours = ahead(memory, point(step + 2))
        np.testing.assert_allclose(ours, SPREAD * (step + 2 if step else 0), atol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("kind", [Taylor, Newton])
def test_orders(kind):
    """An order is a whole number, not negative; by name it is a setting."""
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(ValueError, match=f"order is {wrong!r}; it must be a whole"):
            kind(wrong)
    name = kind.__name__.lower()
    assert get_forecast(name) == kind(1)
    assert get_forecast({"name": name, "order": 2}) == kind(2)
    with pytest.raises(ValueError, match=r"forecast setting 'ordre'.*'order'"):
        get_forecast({"name": name, "ordre": 2})

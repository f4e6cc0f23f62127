"""Batches of a data set: their order, who reads what of them, and reading ahead."""

from __future__ import annotations

import builtins
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from jax_stepcache.models.training.loader import Loader, Order


class Counted:
    """Rows that say their number, and note that they were read."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        self.read.append(row)
        return {"number": np.full((2,), row, np.float32)}


@given(count=st.integers(1, 20), batch=st.integers(1, 20), epochs=st.integers(1, 3))
def test_an_epoch_sees_every_row_once(count: int, batch: int, epochs: int) -> None:
    """But for those that fill no batch."""
    order = Order(count, min(batch, count), 3)
    per_epoch = count // order.batch
    for epoch in range(epochs):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = np.concatenate([order.rows(step) for step in steps])
        assert len(set(seen.tolist())) == len(seen) == per_epoch * order.batch


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """Neither a second epoch nor another seed repeats an order of twenty rows."""
    orders = [
        Order(20, 20, 0).rows(0),
        Order(20, 20, 0).rows(1),
        Order(20, 20, 1).rows(0),
    ]
    assert len({tuple(rows.tolist()) for rows in orders}) == 3


def test_a_seed_below_zero_is_refused() -> None:
    """Named and told what is allowed, before grain says it in words of its own."""
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        Order(20, 4, -1)


@given(begun=st.integers(0, 9), batch=st.sampled_from([1, 3, 4]))
def test_a_loader_begins_anywhere(begun: int, batch: int) -> None:
    """What comes at a step depends on no step before it: a resumed run goes on."""
    order = Order(10, batch, 5)
    loader = Loader(Counted(10), order, steps=12)
    for step in (begun, begun + 1, 0):
        found = loader.batch_at(step)["number"]
        wanted = np.repeat(order.rows(step)[:, None], 2, axis=1)
        np.testing.assert_array_equal(found, wanted)
    loader.close()


def test_nothing_is_read_beyond_the_run() -> None:
    """The last step's batch is the last that is read."""
    source = Counted(8)
    loader = Loader(source, Order(8, 2, 0), steps=3)
    for step in range(3):
        loader.batch_at(step)
    assert len(source.read) == 6
    loader.close()


def test_a_process_reads_what_its_devices_hold() -> None:
    """On a mesh rows are put where they belong; with one process it reads all."""
    mesh = jax.make_mesh((1,), ("data",))
    where = NamedSharding(mesh, PartitionSpec("data"))
    loader = Loader(Counted(8), Order(8, 4, 0), steps=2, where=where)
    np.testing.assert_array_equal(loader.places(), np.arange(4))
    found = loader.batch_at(1)["number"]
    np.testing.assert_array_equal(found[:, 0], Order(8, 4, 0).rows(1))
    assert found.sharding == where
    loader.close()


def test_a_missing_grain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    usual = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name == "grain":
            raise ImportError(name)
        return usual(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'jax-stepcache\[finetune\]'"):
        Order(4, 2, 0).rows(0)

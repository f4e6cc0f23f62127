"""Weights made of a checkpoint's tensors, one tensor at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jax_stepcache.checkpoints.weights import differences, nested, require_fit
from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.processes import put

from .placement import is_stacked, placement, weight_sharding
from .shards import Shards

# Names of dtypes in safetensors' headers, for weights.
_FLOATS = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
# Numbers looked at together: what their check allocates is small beside a tensor.
_CHUNK = 1 << 18


class Recipe(NamedTuple):
    """How one weight is made.

    Attributes:
        sources: the tensors that it is made of, by their names in the checkpoint; one,
            or ``parts``, for each layer where ``stacked``, otherwise a single one.
        source_shape: what each of them must have.
        convert: makes the weight, or a layer of it, of an array. A function of a
            module: it is compiled once for each shape.
        shape: the weight's, with the layer axis.
        stacked: whether the sources are the layers.
        parts: of how many sources a layer consists; they lie along the axis behind that
            of the layers, if there is more than one.
    """

    sources: tuple[str, ...]
    source_shape: tuple[int, ...]
    convert: Callable[[Any], Any]
    shape: tuple[int, ...]
    stacked: bool = False
    parts: int = 1

    def place(self, source: int) -> tuple[int, ...]:
        """Where in the weight a source is written, by its place among them."""
        return (source,) if self.parts == 1 else divmod(source, self.parts)


def as_it_is(tensor: Any) -> Any:
    """The conversion of what needs none."""
    return tensor


@dataclass(frozen=True)
class StreamedCheckpoint:
    """Somebody's safetensors, and what becomes of them.

    Attributes:
        model: the model that the weights are for.
        shards: the files.
        plan: a `Recipe` for each of the model's weights, by name, with dots.
        passed_over: beginnings of the names of tensors that belong to other networks.
    """

    model: Any
    shards: Shards
    plan: Mapping[str, Recipe]
    passed_over: tuple[str, ...] = ()

    def faults(self) -> list[str]:
        """What the headers show to be wrong: missing, extra and misshapen tensors."""
        headers = self.shards.headers
        wanted = {
            source: recipe.source_shape
            for recipe in self.plan.values()
            for source in recipe.sources
        }
        given = {
            name: header.shape
            for name, header in headers.items()
            if name in wanted or not name.startswith(self.passed_over or ("\0",))
        }
        found = differences(given, wanted)
        found += [
            f"dtype: {name} is {headers[name].dtype}, weights are {sorted(_FLOATS)}"
            for name in wanted.keys() & given.keys()
            if headers[name].dtype not in _FLOATS
        ]
        found += [
            f"index: it has {name} in {file}, which lacks it"
            for name, file in self.shards.promised.items()
            if name in wanted
        ]
        return sorted(found)

    def dtype_of(self, name: str) -> np.dtype:
        """The dtype of a weight's tensors; the widest where they differ.

        Args:
            name: the weight's, with dots.

        Returns:
            The dtype.
        """
        headers = [self.shards.headers[source] for source in self.plan[name].sources]
        kinds = {_FLOATS[header.dtype] for header in headers}
        with jax.numpy_dtype_promotion("standard"):
            widest = functools.reduce(jnp.promote_types, sorted(kinds))
        return jax.dtypes.canonicalize_dtype(widest)

    def bytes_of(self, names: Iterable[str]) -> int:
        """The size of the tensors that some weights are made of.

        Args:
            names: the weights', with dots.

        Returns:
            Bytes, as the checkpoint has them; what is not there counts nothing.
        """
        headers = self.shards.headers
        found = [headers.get(s) for name in names for s in self.plan[name].sources]
        return sum(
            math.prod(header.shape) * jnp.dtype(_FLOATS[header.dtype]).itemsize
            for header in found
            if header is not None and header.dtype in _FLOATS
        )

    def load(
        self, *, dtype: str | None = None, mesh: Mesh | PlacedByName | None = None
    ) -> Any:
        """Makes all weights.

        Args:
            dtype: to cast to; that of the checkpoint unless given.
            mesh: see `weight_sharding`.

        Returns:
            Nested dict of arrays.

        Raises:
            ValueError: with all missing, extra, misshapen and non-finite tensors.
        """
        faults = self.faults()
        weights = self.stream(self.plan, faults, dtype=dtype, mesh=mesh)
        require_fit(str(self.shards.path), faults)
        return nested(weights, str(self.shards.path))

    def stream(
        self,
        names: Iterable[str],
        faults: list[str],
        *,
        dtype: str | None = None,
        mesh: Mesh | PlacedByName | None = None,
        on_read: Callable[[int], None] | None = None,
    ) -> dict[str, jax.Array]:
        """Makes some of the weights; the host holds one of their tensors at a time.

        Args:
            names: which ones.
            faults: what is wrong so far; tensors that are not finite are added. As soon
                as there is a fault nothing is made any more, and the tensors are only
                read to find the others.
            dtype: to cast to; that of the checkpoint unless given.
            mesh: see `weight_sharding`.
            on_read: is told the bytes of each tensor.

        Returns:
            Arrays by name; empty if there is a fault.
        """
        # Of one tensor several weights may be made, as of queries, keys and values.
        of: dict[str, list[tuple[str, int]]] = {}
        for name in names:
            for layer, source in enumerate(self.plan[name].sources):
                of.setdefault(source, []).append((name, layer))
        weights: dict[str, jax.Array] = {}
        for source, tensor in self.shards.read(self._readable(of)):
            if not _finite(tensor):
                faults.append(f"not finite: {source}")
            if faults:
                weights.clear()
            for name, layer in [] if faults else of[source]:
                wanted = self.dtype_of(name) if dtype is None else jnp.dtype(dtype)
                made = self._add(weights.get(name), name, layer, tensor, wanted, mesh)
                # Waits, or tensors would pile up on the host behind a slow device.
                weights[name] = jax.block_until_ready(made)
                del made
            if on_read is not None:
                on_read(tensor.nbytes)
            del tensor
        return weights

    def _readable(self, of: Mapping[str, list[tuple[str, int]]]) -> Iterator[str]:
        """Those tensors that are there, in their shape."""
        for source, [(name, _), *_] in of.items():
            header = self.shards.headers.get(source)
            shape = self.plan[name].source_shape
            if header and header.shape == shape and header.dtype in _FLOATS:
                yield source

    def _add(
        self,
        buffer: jax.Array | None,
        name: str,
        layer: int,
        tensor: np.ndarray,
        dtype: Any,
        mesh: Mesh | PlacedByName | None,
    ) -> jax.Array:
        """A weight with one more of its tensors in it."""
        recipe = self.plan[name]
        target = weight_sharding(mesh, name, recipe.shape)
        # The tensor is cut much as the weight will be: each device gets a part only,
        # and turning it moves little between them.
        devices = mesh.layout.mesh if isinstance(mesh, PlacedByName) else mesh
        source = placement(
            devices, tensor.shape, stacked=is_stacked(name) and not recipe.stacked
        )
        moved = put(tensor, source)
        if not recipe.stacked:
            made = recipe.convert(moved).astype(dtype)
            return made if target is None else jax.device_put(made, target)
        if buffer is None:
            buffer = jnp.zeros(recipe.shape, dtype, device=target)
        return _write(buffer, moved, recipe.place(layer), recipe.convert, target)


@functools.partial(
    jax.jit, donate_argnames="buffer", static_argnames=("convert", "sharding")
)
def _write(
    buffer: jax.Array,
    tensor: jax.Array,
    place: tuple[int, ...],
    convert: Callable[[Any], Any],
    sharding: NamedSharding | None,
) -> jax.Array:
    """Writes one layer, or a part of one, in place."""
    made = convert(tensor).astype(buffer.dtype)
    made = made.reshape(*(1,) * len(place), *made.shape)
    start = (*place, *(0,) * (buffer.ndim - len(place)))
    out = jax.lax.dynamic_update_slice(buffer, made, start)
    if sharding is None:
        return out
    return jax.lax.with_sharding_constraint(out, sharding)


def _finite(tensor: np.ndarray) -> bool:
    """Whether all numbers are, without a copy of them."""
    numbers = tensor.reshape(-1)
    return all(
        np.isfinite(numbers[start : start + _CHUNK]).all()
        for start in range(0, numbers.size, _CHUNK)
    )

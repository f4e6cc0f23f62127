"""Networks in stages, which a cache can look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.check import check_count, described
from jax_stepcache.policy.span import (
    Attentions,
    EachBlock,
    EachList,
    Span,
    each_branch,
)


class Stages(Protocol):
    """A network that can be asked for its parts.

    ``head(blocks(embed(...), 0, num_blocks))`` is the whole network. ``hidden`` is what
    the blocks work on, a pytree of [rows, tokens, dim] arrays, of which they may change
    no more than the dtypes; ``context`` is whatever blocks and head read besides (a
    time embedding, keys and values of a prompt), of any type. Where samples decide each
    for itself, rows are picked from its arrays; where it is no pytree of arrays with
    rows, all of them go through the span or none. A class that has these methods need
    not derive from this one. ``modulated`` is asked for by TeaCache only,
    and ``times`` by the original one for Wan.
    """

    @property
    def num_blocks(self) -> int:
        """How many blocks there are."""
        ...

    def embed(
        self, weights: Any, sample: Any, t: Any, condition: Any
    ) -> tuple[Any, Any]:
        """Makes ``hidden`` and ``context`` of the denoiser's arguments."""
        ...

    def blocks(
        self, weights: Any, hidden: Any, context: Any, start: int, stop: int
    ) -> Any:
        """Sends ``hidden`` through blocks ``start`` to ``stop - 1``."""
        ...

    def head(self, weights: Any, hidden: Any, context: Any) -> Any:
        """Reads the velocity off, in the sample's structure."""
        ...

    def modulated(self, weights: Any, hidden: Any, context: Any) -> jax.Array:
        """What block 0 feeds its attention: normalised, scaled and shifted by time."""
        ...


class Timed(Protocol):
    """A network in stages that tells what it makes of the timestep; optional."""

    def times(self, weights: Any, hidden: Any, context: Any) -> Mapping[str, jax.Array]:
        """``"embedding"`` and ``"projection"`` of the timestep, [rows, ...] each.

        Where tokens have different ones, each in proportion to how many have it.
        """
        ...


class Shown(Protocol):
    """A network in stages whose input is not just the sample; optional."""

    def shown(self, sample: Any, condition: Any) -> jax.Array:
        """What enters the network, [rows, ...], which SeaCache looks at."""
        ...


class AtOnce(Protocol):
    """A network that asks more in a stage than blocks take; optional.

    As one of experts: what enters a conditional is kept for as long as it runs.
    """

    def embed_through(
        self, weights: Any, sample: Any, t: Any, condition: Any, stop: int
    ) -> Any:
        """``blocks(embed(...), 0, stop)``, the expert being asked for but once."""
        ...


class Listed(Protocol):
    """A network in stages whose blocks are of several lists; optional."""

    @property
    def block_lists(self) -> tuple[int, ...]:
        """How many blocks each list has, in order; their sum is ``num_blocks``."""
        ...


class Attending(Protocol):
    """A network in stages that can be given what its attentions say; optional."""

    def attended(
        self, weights: Any, hidden: Any, context: Any, given: Any = None
    ) -> tuple[Any, Any]:
        """Sends ``hidden`` through all blocks.

        Args:
            weights: of the network.
            hidden: see `Stages`.
            context: likewise.
            given: what the attentions of all blocks say; computed unless given.

        Returns:
            What comes out, and what the attentions say, a pytree of [rows, ...] arrays.
        """
        ...


@dataclass(frozen=True)
class StagedDenoiser:
    """A denoiser of one's own, given in stages; also callable as a whole.

    Make it once: another object is another program.

    Attributes:
        num_blocks: how many blocks there are.
        embed: ``(params, sample, t, condition) -> (hidden, context)``.
        blocks: ``(params, hidden, context, start, stop) -> hidden``.
        head: ``(params, hidden, context) -> velocity``.
        modulated: ``(params, hidden, context) -> array``, for TeaCache; or None.
    """

    num_blocks: int
    embed: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    blocks: Callable[[Any, Any, Any, int, int], Any]
    head: Callable[[Any, Any, Any], Any]
    modulated: Callable[[Any, Any, Any], jax.Array] | None = None

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The whole network."""
        hidden, context = pair(self.embed(params, sample, t, condition))
        hidden = self.blocks(params, hidden, context, 0, self.num_blocks)
        return self.head(params, hidden, context)


STAGES = ("embed", "blocks", "head", "num_blocks")
_HOW = (
    "Give model=StagedDenoiser(num_blocks, embed, blocks, head, modulated), or a model "
    "with methods of these names; adapt(..., modulated=) and Residual(..., signal=) "
    "take what a cache looks at. 'Your own model' in the docs shows one. step_cache "
    "and static serve any network as it is"
)


def has_stages(model: Any) -> bool:
    """Whether a model has parts to be asked for; some may still be missing."""
    return any(getattr(model, name, None) is not None for name in STAGES)


def check_stages(model: Any, span: Span | None, looks_at: str = "") -> None:
    """Checks that a model can serve a cache that looks into it.

    Args:
        model: the model.
        span: what the cache may skip; None where that is not known yet.
        looks_at: what its signal looks at; see `Signal`.

    A model may say itself what to give for ``"modulated"``, ``"blocks"`` or
    ``"stages"``, in a mapping ``lacking``.

    Raises:
        ValueError: naming what is missing and how to add it, or if there are too few
            blocks.
    """
    if each_branch(span):
        return
    name = getattr(model, "name", type(model).__name__)
    missing = [part for part in STAGES if getattr(model, part, None) is None]
    if missing:
        raise ValueError(
            f"this cache skips blocks inside the network, and {name} lacks "
            f"{', '.join(missing)}. {_advice(model, 'stages')}"
        )
    if looks_at == "modulated" and getattr(model, "modulated", None) is None:
        raise ValueError(
            f"this cache looks at the modulated input of block 0, and {name} lacks "
            f"'modulated'. {_advice(model, 'modulated')}"
        )
    if looks_at == "times" and getattr(model, "times", None) is None:
        raise ValueError(
            f"this cache looks at the embedded timestep, and {name} lacks 'times'. "
            "tea_cache without original=True looks at the modulated input of block 0"
        )
    check_count(f"num_blocks of {name}", model.num_blocks, 1)
    if isinstance(span, Attentions):
        if getattr(model, "attended", None) is None:
            raise ValueError(
                f"this cache reuses what attentions say, and {name} lacks 'attended'. "
                "One over all blocks goes with any network in stages"
            )
        return
    if isinstance(span, EachList):
        _check_lists(name, getattr(model, "block_lists", None), span)
        return
    if span is not None and span.first + span.last >= model.num_blocks:
        told = getattr(model, "lacking", None) or {}
        raise ValueError(
            f"the span leaves out {span.first} first and {span.last} last blocks of "
            f"{name}'s {model.num_blocks}; at least one must be left to skip "
            "(Fn_compute_blocks, Bn_compute_blocks)"
            + (f". {told['blocks']}" if "blocks" in told else "")
        )
    if isinstance(span, EachBlock) and not span.gated(model.num_blocks):
        raise ValueError(
            f"the span leaves out all of {name}'s {model.num_blocks} blocks; at least "
            "one must be left to skip (non_prune_block_ids)"
        )


def _advice(model: Any, what: str) -> str:
    """What its constructor takes for it, where it says so itself; else all ways."""
    told = getattr(model, "lacking", None) or {}
    return told.get(what, _HOW)


def _check_lists(name: str, counts: Any, span: EachList) -> None:
    if counts is None or len(counts) != len(span.spans):
        has = "one list" if counts is None else f"{len(counts)} lists"
        raise ValueError(
            f"this cache decides about {len(span.spans)} lists of blocks, and {name} "
            f"has {has}"
        )
    for i, (count, one) in enumerate(zip(counts, span.spans, strict=True)):
        if one.first + one.last >= count:
            raise ValueError(
                f"the span leaves out {one.first} first and {one.last} last of the "
                f"{count} blocks in list {i} of {name}; at least one must be left to "
                "skip (Fn_compute_blocks, Bn_compute_blocks)"
            )


def pair(embedded: Any) -> tuple[Any, Any]:
    """What ``embed`` returned, which must be two things, while tracing.

    An array of two rows would be taken apart in silence.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(embedded, tuple | list) or len(embedded) != 2:
        raise ValueError(
            f"embed returned {described(embedded)}; it must return two things, "
            "(hidden, context)"
        )
    return embedded[0], embedded[1]


def check_modulated(given: Any) -> None:
    """Checks what TeaCache is to look at, while tracing.

    Raises:
        ValueError: if it is no array with rows.
    """
    if not getattr(given, "shape", ()):
        raise ValueError(
            f"modulated returned {_shown(given)}; it must return one array, [rows, ...]"
        )


def check_hidden(hidden: Any, rows: int | None = None) -> None:
    """Checks what blocks are to work on, while tracing.

    Args:
        hidden: what the network's ``embed`` returned for it.
        rows: how many rows each of its arrays must have; None where no row of it is
            taken from among others.

    Raises:
        ValueError: if it is no tree of arrays that can be added and subtracted.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(hidden):
        dtype = getattr(x, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.number):
            name = "hidden" + jax.tree_util.keystr(path)
            raise ValueError(
                f"embed returned {name} as {_shown(x)}; a cache inside the network "
                "adds and subtracts what blocks work on, so it must hold arrays of "
                "numbers. Masks, keys and settings go into context"
            )
        if rows is not None and x.shape[:1] != (rows,):
            name = "hidden" + jax.tree_util.keystr(path)
            raise ValueError(
                f"embed returned {name} as {_shown(x)}, without a first axis of "
                f"{rows} rows; hidden is what each row has of its own, [rows, tokens, "
                "dim]. What all rows share goes into context"
            )


def check_kept(given: Any, entered: Any, start: int, stop: int) -> None:
    """Checks what came out of blocks, while tracing; dtypes may be others.

    Args:
        given: what they returned.
        entered: what they were given.
        start: the first of them.
        stop: the one behind the last.

    Raises:
        ValueError: if structure or shapes are others.
    """
    call = f"blocks(weights, hidden, context, {start}, {stop})"
    why = (
        "A cache inside the network adds and subtracts what enters and leaves its "
        "blocks, so they must keep structure and shapes; what drops or pools tokens "
        "goes into embed or head. step_cache and static serve any network as it is"
    )
    if jax.tree.structure(given) != jax.tree.structure(entered):
        raise ValueError(
            f"{call} returned a {type(given).__name__}, {described(given)}; hidden is "
            f"{described(entered)}. {why}"
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(given),
        jax.tree.leaves(entered),
        strict=True,
    )
    for (path, x), before in pairs:
        if getattr(x, "shape", None) != before.shape:
            at = jax.tree_util.keystr(path)
            raise ValueError(
                f"{call} returned {_shown(x)} for hidden{at}, which was "
                f"{_shown(before)}. {why}"
            )


def _shown(x: Any) -> str:
    """An array's dtype and shape, or what else it is."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype}{list(x.shape)}"
    return f"a {type(x).__name__}"

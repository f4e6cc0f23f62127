"""Which release a transformer is of, and what its defaults are."""

from __future__ import annotations

from dataclasses import replace

from ..sizes import RELEASES, WanConfig, WanRelease
from .configuration import same_sizes
from .folder import Layout


def release_of(config: WanConfig, layout: Layout) -> WanRelease:
    """The release whose sizes these are, or one of its own after the nearest.

    Of two releases of one size the folder decides: by its name (``480P``, ``720P``); of
    another name, by the shift of its scheduler where that is one of theirs; otherwise
    it is the larger pictures'. A shift that somebody edited is kept, and makes no other
    release of a folder that has its name.

    Args:
        config: the transformer's sizes.
        layout: the folder.

    Returns:
        The release, with the folder's boundary and shift where it tells them.
    """
    two = len(layout.transformers) == 2
    found = [
        release
        for release in RELEASES.values()
        if same_sizes(release.transformer, config)
        and (release.boundary_ratio is not None) == two
    ]
    release = _chosen(found, layout) if found else _nearest(config, two, layout)
    release = replace(release, transformer=config)
    if two and layout.boundary_ratio is not None:
        release = replace(release, boundary_ratio=layout.boundary_ratio)
    if layout.scheduler is not None:
        release = replace(release, shift=layout.scheduler.shift)
    return release


def _chosen(found: list[WanRelease], layout: Layout) -> WanRelease:
    """Of releases of one size, the one that the folder means."""
    called = [r for r in found if f"{min(r.size)}p" in layout.hint]
    shift = None if layout.scheduler is None else layout.scheduler.shift
    alike = called or [r for r in found if r.shift == shift] or found
    return max(alike, key=lambda release: release.size)


def _nearest(config: WanConfig, two: bool, layout: Layout) -> WanRelease:
    """A release of sizes that nobody released, with the defaults of its kind."""
    task = _task(config, layout)
    alike = [
        release
        for release in RELEASES.values()
        if release.task == task and (release.boundary_ratio is not None) == two
    ]
    if alike:
        made = alike[0]
    else:
        # One expert alone, or two of a kind that has one.
        made = next(r for r in RELEASES.values() if r.task == task)
        made = replace(
            made,
            boundary_ratio=0.9 if two else None,
            guidance_scale_2=made.guidance_scale if two else None,
        )
    if layout.stride is not None:
        made = replace(made, stride=(made.stride[0], layout.stride, layout.stride))
    return made


def _task(config: WanConfig, layout: Layout) -> str:
    """What a transformer makes films from, by its inputs."""
    if config.pos_embed_seq_len is not None:
        return "flf2v"
    if config.condition_channels:
        return "i2v"
    if layout.times_by_token or config.out_channels == 48:
        return "ti2v"
    return "t2v"

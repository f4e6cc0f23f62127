"""What a film is asked with: sizes and pictures, checked before anything is loaded."""

from __future__ import annotations

from typing import Any

from .sizes import WanRelease

# Positions that the originals have along each axis of tokens.
_POSITIONS = 1024
# Pixels of a frame: 4K, nine times what any release was made for.
_PIXELS = 3840 * 2160
# How much longer than wide a film becomes by a picture alone.
_ASPECT = 16

_TAKES = {
    "t2v": "makes films of words alone, so it takes no image",
    "i2v": "begins films with a picture: give image",
    "flf2v": "makes films between two pictures: give image and last_image",
}


def check_pictures(release: WanRelease, image: Any, last_image: Any) -> None:
    """Checks which pictures are given.

    Args:
        release: what the model takes.
        image: of the first frame, or None.
        last_image: of the last frame, or None.

    Raises:
        ValueError: if one is missing, or one too many.
    """
    task = release.task
    given = [image is not None, last_image is not None]
    wanted = {"t2v": [False, False], "flf2v": [True, True]}.get(task)
    if wanted is not None and given != wanted:
        raise ValueError(f"this Wan ({task}) {_TAKES[task]}; got {_named(given)}")
    if task == "i2v" and not given[0]:
        raise ValueError(f"this Wan (i2v) {_TAKES['i2v']}; got {_named(given)}")
    # With CLIP, the transformer has room for the features of one picture.
    room = task == "i2v" and release.transformer.image_dim is None
    if given[1] and task != "flf2v" and not room:
        raise ValueError(
            f"this Wan ({task}) takes no last_image; those that do are flf2v and the "
            "experts of i2v"
        )


def check_guidance(release: WanRelease, guidance_scale_2: float | None) -> None:
    """Checks that a second guidance scale has an expert.

    Raises:
        ValueError: if it is given, and there is one transformer.
    """
    if guidance_scale_2 is not None and release.boundary_ratio is None:
        raise ValueError(
            "guidance_scale_2 is of the low-noise expert; this Wan has one transformer"
        )


def check_extent(release: WanRelease, frames: int, rows: int, columns: int) -> None:
    """Checks that a film is none that no transformer of this family could make.

    Args:
        release: whose tokens it is made of.
        frames: in pixels, as the others.
        rows: likewise.
        columns: likewise.

    Raises:
        ValueError: for a side of more tokens than the originals have positions for, or
            frames of more pixels than 4K.
    """
    told = {"num_frames": frames, "height": rows, "width": columns}
    for axis, (name, length) in enumerate(told.items()):
        # The first frame has a latent of its own.
        own, first = unit(release, axis), axis == 0
        most = _POSITIONS * own - (own - 1 if first else 0)
        if length > most:
            raise ValueError(
                f"{name} is {length}; it may be at most {most}: there are positions "
                f"for {_POSITIONS} tokens along each side"
            )
    if rows * columns > _PIXELS:
        raise ValueError(
            f"height and width are {rows} and {columns}, {rows * columns:,} pixels a "
            f"frame; at most {_PIXELS:,} (3840 x 2160) are made, and this release was "
            f"trained on {' x '.join(map(str, release.size))}"
        )


def film_size(
    release: WanRelease, height: int | None, width: int | None, picture: Any = None
) -> tuple[int, int]:
    """The size of a film, of which nothing, or all of it, may be said.

    Where nothing is said and it begins with a picture, the picture's aspect is kept and
    the area is the release's, as the originals have it.

    Args:
        release: whose size it is otherwise.
        height: in pixels, or None.
        width: likewise.
        picture: (height, width) of the first picture, or None.

    Returns:
        Height and width.

    Raises:
        ValueError: if only one of the two is given, or the picture is a strip.
    """
    if (height is None) != (width is None):
        raise ValueError(f"give height and width, or neither; got {height} and {width}")
    if height is not None and width is not None:
        return height, width
    if picture is None:
        return release.size
    if max(picture) > _ASPECT * min(picture):
        raise ValueError(
            f"the picture has {picture[0]} rows and {picture[1]} columns, and a film "
            f"gets its aspect, up to 1:{_ASPECT}; crop it, or give height and width"
        )
    area = release.size[0] * release.size[1]
    steps = (unit(release, 1), unit(release, 2))
    if release.task == "ti2v":
        return _nearest_aspect(picture, steps, area)
    aspect = picture[0] / picture[1]
    # In latents first, and then in patches, as there.
    exact = ((area * aspect) ** 0.5, (area / aspect) ** 0.5)
    rows, columns = (
        max(step, int(side // step * step))
        for side, step in zip(exact, steps, strict=True)
    )
    return rows, columns


def unit(release: WanRelease, axis: int) -> int:
    """Pixels of a token along frames (0), rows (1) or columns (2)."""
    return release.stride[axis] * release.transformer.patch_size[axis]


def _nearest_aspect(
    picture: tuple[int, int], steps: tuple[int, int], area: int
) -> tuple[int, int]:
    """The size below an area, in steps, whose aspect is nearest to a picture's.

    Either side is rounded down first and the other follows; the better one is taken.
    """
    ratio = picture[1] / picture[0]
    width = (area * ratio) ** 0.5
    height = area / width
    down, across = steps
    wide = max(across, int(width // across * across))
    high = max(down, int(height // down * down))
    sizes = [
        (max(down, int(area / wide // down * down)), wide),
        (high, max(across, int(area / high // across * across))),
    ]

    def off(size: tuple[int, int]) -> float:
        own = size[1] / size[0]
        return max(ratio / own, own / ratio)

    return sizes[0] if off(sizes[0]) < off(sizes[1]) else sizes[1]


def _named(given: list[bool]) -> str:
    names = [
        name
        for name, is_there in zip(("image", "last_image"), given, strict=True)
        if is_there
    ]
    return " and ".join(names) or "neither"

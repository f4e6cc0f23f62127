"""The words that guidance leads away from unless others are given."""

from __future__ import annotations

NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，"
    "整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""The original's, the same for all releases: garish colours, overexposed, static,
blurred, subtitles, paintings, greyish, ugly, deformed hands and faces, still frames,
crowded backgrounds, walking backwards."""

# Before it where films begin with a picture, in Wan 2.1: a shaking camera.
_SHAKING = "镜头晃动，"


def negative_prompt(task: str, experts: int) -> str:
    """The original's negative prompt.

    Args:
        task: see `WanRelease`.
        experts: how many transformers the release has.

    Returns:
        The text.
    """
    pictures = task in ("i2v", "flf2v") and experts == 1
    return (_SHAKING if pictures else "") + NEGATIVE_PROMPT

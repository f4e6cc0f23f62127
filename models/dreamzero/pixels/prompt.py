"""What the text encoder is given for a robot's instruction."""

from __future__ import annotations

import ast

from jax_stepcache.errors import brief

from .views import Views

NEGATIVE_PROMPT = (
    "Vibrant colors, overexposed, static, blurry details, text, subtitles, style, "
    "artwork, painting, image, still, grayscale, dull, worst quality, low quality, "
    "JPEG artifacts, ugly, mutilated, extra fingers, bad hands, bad face, deformed, "
    "disfigured, mutated limbs, fused fingers, stagnant image, cluttered background, "
    "three legs, many people in the background, walking backwards."
)
"""What guidance leads away from: the original's words, the same for all robots."""


def prompt_text(views: Views, prompt: str | None) -> str:
    """Puts an instruction into the form that the network was trained on.

    Cleaning (mojibake, HTML, white space) is the tokenizer's part.

    Args:
        views: the robot's.
        prompt: the instruction. One that reads as Python's text, in quotes, is what
            they hold, and of a list of such texts the first counts, as datasets store
            them. All else is taken as it is. None for no words, where a robot has sent
            none.

    Returns:
        The text.

    Raises:
        TypeError: if it is no string.
        ValueError: if it is empty.
    """
    said = "" if prompt is None else _instruction(prompt)
    return (
        f"A multi-view video shows that a robot {said} {views.sentence} The robot "
        f"{said}"
    )


def _instruction(prompt: str) -> str:
    if not isinstance(prompt, str):
        raise TypeError(f"prompt is {brief(prompt)}; give a string, what is to be done")
    said = _value(prompt).lower()
    if not said.strip():
        raise ValueError(
            f"prompt is {brief(prompt)}, which is empty; say what is to be done"
        )
    return said


def _value(prompt: str) -> str:
    try:
        value = ast.literal_eval(prompt)  # runs nothing
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return prompt
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value[0] if value else ""
    return value if isinstance(value, str) else prompt

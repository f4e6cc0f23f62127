"""What is done to a text before it is cut into tokens."""

from __future__ import annotations

import html
import re

_MISSING = "cleaning a prompt needs ftfy: pip install 'jax-stepcache[prompts]'"


def clean(text: str) -> str:
    """Mends a text as Wan does: wrong encodings, HTML, runs of whitespace.

    Args:
        text: any.

    Returns:
        The text; cleaned once more it may change again, for ``&amp;`` may stand for
        ``&`` several times over.

    Raises:
        ImportError: without ftfy, with what to install.
    """
    try:
        import ftfy
    except ImportError as error:
        raise ImportError(_MISSING) from error
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended).strip()

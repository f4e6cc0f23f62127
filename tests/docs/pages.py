"""README and docs as the tests read them: their blocks of code and what is hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A comment that says what the test does first (`setup`) or why it does not run a block
# (`not run`), a fence, and anything else, line by line.
_PIECES = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^<!-- not run: (?P<why>.*?) -->$"
    r"|^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$"
    r"|^(?P<other>[^\n]*\S[^\n]*)$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        language: such as ``"python"``; ``"setup"`` where it is hidden.
        code: what it says.
        line: where its code begins.
        why: why it is not run, or "".
        printed: the text block right behind it, what it prints; or None.
    """

    language: str
    code: str
    line: int
    why: str = ""
    printed: str | None = None


def text(page: Path) -> str:
    """A page's text, with the files that it includes."""
    return re.sub(
        r'^--8<-- "([^"]+)"$',
        lambda found: (ROOT / found[1]).read_text(),
        page.read_text(),
        flags=re.MULTILINE,
    )


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    whole = text(page)
    found: list[Block] = []
    why, last_is_block = "", False
    for piece in _PIECES.finditer(whole):
        if piece["why"] is not None:
            why, last_is_block = piece["why"], False
            continue
        if piece["other"] is not None:
            why, last_is_block = "", False
            continue
        language = "setup" if piece["setup"] is not None else piece["language"]
        code = piece["setup"] if piece["setup"] is not None else piece["code"]
        if language == "text" and last_is_block and found[-1].language == "python":
            before = found.pop()
            found.append(Block(before.language, before.code, before.line, why, code))
        else:
            line = whole[: piece.start()].count("\n") + 2
            found.append(Block(language, code, line, why))
        why, last_is_block = "", True
    return found


def name(page: Path) -> str:
    """The page's path in the checkout, for test ids."""
    return page.relative_to(ROOT).as_posix()

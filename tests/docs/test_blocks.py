"""The code in README and docs does what the page says.

A page's Python blocks run in order, in one namespace, each page by itself. What a page
leaves out (a robot, a folder of a checkpoint) is made in a comment that begins with
``<!-- setup``. A ``text`` block right behind a Python block is what that prints, with
``...`` for anything. A block behind ``<!-- not run: why -->`` is compiled only.
"""

import contextlib
import doctest
import io

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, name, text

# README says in short what the others say at length; these compile least.
_QUICK = {
    *(f"docs/{page}.md" for page in ("index", "quickstart", "costs")),
    *(f"docs/{page}.md" for page in ("errors", "options")),
}
_RUN = [page for page in PAGES if any(b.language == "python" for b in blocks(page))]
_CASES = [
    pytest.param(
        page, id=name(page), marks=[] if name(page) in _QUICK else [pytest.mark.slow]
    )
    for page in _RUN
]


@pytest.mark.parametrize("page", _CASES)
def test_blocks_run(page, tmp_path, monkeypatch):
    """What a reader copies out of a page works, and prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIFFUSION_CACHE_BACKEND", raising=False)
    checker = doctest.OutputChecker()
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language not in ("python", "setup"):
            continue
        # Line numbers in a traceback are those of the page.
        code = "\n" * (block.line - 1) + block.code
        compiled = compile(code, str(page), "exec", dont_inherit=True)
        if block.why:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compiled, namespace)
        if block.printed is not None:
            assert checker.check_output(
                block.printed, printed.getvalue(), doctest.ELLIPSIS
            ), f"line {block.line} prints\n{printed.getvalue()}\nnot\n{block.printed}"


def test_every_block_is_of_a_language_that_is_looked_at():
    """A fence without a language, or of another one, would go untested."""
    known = {"python", "setup", "sh", "text", "yaml", "toml", "json", "mermaid"}
    for page in PAGES:
        found = {block.language for block in blocks(page)}
        assert found <= known, f"{name(page)} has blocks of {sorted(found - known)}"


def test_few_blocks_are_not_run():
    """Not to run a block is rare, and has a reason that says what is missing."""
    left_out = [b for page in PAGES for b in blocks(page) if b.why]
    run = [b for page in PAGES for b in blocks(page) if b.language == "python"]
    assert all(len(block.why) > 10 for block in left_out)
    assert len(left_out) * 10 <= len(run)


def test_fences_are_found():
    """The reader of pages sees every fence that Markdown sees."""
    for page in PAGES:
        fences = text(page).count("```")
        shown = [b for b in blocks(page) if b.language != "setup"]
        seen = sum(2 + 2 * (block.printed is not None) for block in shown)
        assert fences == seen, name(page)


def test_readme_is_a_front_page():
    """It has at most 220 lines; the rest is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220

"""Links lead somewhere, and pictures are drawn by the script that says so."""

import importlib.util
import re

from tests.docs.pages import PAGES, ROOT, name, text


def _anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page, re.M)
    words = [re.sub(r"[^\w\s-]", "", h.lower()).strip() for h in headings]
    return {re.sub(r"\s+", "-", word) for word in words}


def test_links_lead_somewhere():
    """A link names a file that is there, and a heading that it has."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
            if target.startswith(("https://", "http://")):
                continue
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), f"{name(page)}: {target}"
            if anchor and file.suffix == ".md":
                assert anchor in _anchors(text(file)), f"{name(page)}: {target}"


def test_every_picture_is_drawn_by_the_script():
    """Each has a function that draws it or a script of its own, and a page."""
    spec = importlib.util.spec_from_file_location(
        "draw", ROOT / "docs" / "pictures" / "draw.py"
    )
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    folder = ROOT / "docs" / "pictures"
    shown = "".join(map(text, PAGES))
    own = {file.stem for file in folder.glob("*.py")}
    pictures = {file.stem for file in folder.glob("*.png")}
    assert pictures - own == set(draw.PICTURES)
    for one in pictures:
        assert (folder / f"{one}.png").is_file()
        assert f"pictures/{one}.png" in shown

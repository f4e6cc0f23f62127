"""The status page, in a browser."""

from __future__ import annotations

import shutil

import pytest

from jax_stepcache.serving.robots.status import _PAGE
from tests.serving.robots.toy import Robot, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_the_page_asks_nobody_else():
    """No script, style or picture from elsewhere: a lab has no internet."""
    text = _PAGE.read_text()
    outside = [x for x in ("https://", "http://", "src=", "@import") if x in text]
    assert outside == [
        "http://"
    ]  # the name of SVG's elements, which is fetched nowhere
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg") == 1
    assert "innerHTML" not in text  # an id is a robot's own words


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_sessions_latencies_and_a_film():
    """As a person sees it: ids as text, the plot, the skipped calls, the film."""
    playwright = pytest.importorskip("playwright.sync_api")
    odd = "<b>arm</b>"
    with (
        serving(token="open sesame") as (_, url),
        Robot(url, Authorization="Bearer open sesame") as robot,
        playwright.sync_playwright() as p,
    ):
        for _ in range(3):
            robot.ask(x=1.0, session_id=odd)
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page, troubles = browser.new_page(), []
        page.on("pageerror", lambda x: troubles.append(str(x)))
        page.goto(url.replace("ws", "http"))
        page.get_by_label("Token").fill("open sesame")
        page.get_by_role("button", name="show").click()
        page.get_by_text("ready").wait_for()
        row = page.locator("#sessions tr")
        cells = row.locator("td").all_inner_texts()
        assert cells[0] == odd
        assert cells[2:5] == ["3", "6", "6"]
        assert "1 connections" in page.locator("#numbers").inner_text()
        points = page.locator("#plot polyline").get_attribute("points")
        assert len(points.split()) == 3
        assert "3 requests: median" in page.locator("#quantiles").inner_text()
        row.get_by_role("button", name="film").click()
        page.get_by_text("2 frames of 4 x 6").wait_for()
        size = "c => [c.width, c.height]"
        assert page.locator("#film").evaluate(size) == [6, 4]
        pixel = "c => [...c.getContext('2d').getImageData(5, 3, 1, 1).data]"
        assert page.locator("#film").evaluate(pixel) == [3, 3, 3, 255]
        assert not troubles
        browser.close()

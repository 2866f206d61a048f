"""A person's way through each panel of the page, in a Chromium without a window, on loopback.

With `LADD_SCREENSHOTS=1` the included pipelines are on the page, and docs/pictures/app-*.png are made anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.browser import REQUIRED, chromium
from helpers.pages import TEXT, tiny_models

from ladd_hf.app import build_page, start
from ladd_hf.cli.demo import models_of

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "pictures"
OWN = "#pane-0 .ladd-text"  # of the model whose latents are shown
SAVES = os.environ.get("LADD_SCREENSHOTS") == "1"


@pytest.fixture(scope="module")
def browser():
    return chromium()


@pytest.fixture(scope="module")
def address(browser, stirred_model):
    page = build_page(models_of("python-docs-di", cpu=True) if SAVES else tiny_models(stirred_model))
    (address,) = start(page)
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="module")
def tab(browser, address):
    """The opened page, which notes its requests in `asked` and its errors in `failed`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        opened = window.new_page(viewport={"width": 1200, "height": 800})
        opened.set_default_timeout(60_000)
        opened.asked, opened.failed = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("pageerror", lambda error: opened.failed.append(str(error)))
        opened.goto(address)
        yield opened
        window.close()


def wait_for(tab, place, pattern):
    """Waits until what is shown at a place matches, and returns it."""
    from playwright.sync_api import expect

    expect(tab.locator(place)).to_have_text(re.compile(pattern, re.DOTALL), timeout=60_000)
    return tab.locator(place).inner_text()


def open_panel(tab, name):
    tab.get_by_role("tab", name=name).click()


def save(tab, name):
    if SAVES:
        tab.wait_for_timeout(400)
        tab.screenshot(path=PICTURES / f"app-{name}.png", full_page=True)


def test_a_text_comes_out_of_its_masks_beside_another_models(tab):
    tab.click("#write")
    wait_for(tab, OWN, "░")
    for text in (OWN, "#pane-1 .ladd-text"):
        wait_for(tab, text, "^[^░]{6,}$")
        assert tab.locator(f"{text} .ladd-step").count() >= 6
    tab.wait_for_selector("#pane-0-square circle.ladd-here[cx='34.0'][cy='192.0']")  # where all is clean
    shown = tab.locator(OWN).inner_text()
    tab.get_by_text("Codes over time").click()
    tab.locator("#codes-over-time tr").nth(9).wait_for()  # after the heading and the masks the eighth step
    save(tab, "generate")
    tab.get_by_label("Seed").first.fill("1")
    tab.get_by_label("Seed").first.press("Tab")
    command = tab.locator("#command textarea")
    command.wait_for()
    tab.wait_for_function("document.querySelector('#command textarea').value.endsWith('--seed 1')")
    tab.click("#write")
    wait_for(tab, OWN, "░")
    assert wait_for(tab, OWN, "^[^░]{6,}$") != shown


def test_a_code_is_exchanged_and_two_texts_are_mixed(tab):
    open_panel(tab, "Latents")
    if not SAVES:
        tab.locator("#latents-text textarea").fill(TEXT)
    tab.click("#show-codes")
    tab.locator("#codes .ladd-chip").first.wait_for()
    tab.get_by_label("Latent", exact=True).fill("1")
    tab.get_by_label("New code").fill("7")
    tab.click("#exchange")
    wait_for(tab, "#exchanged", "with the other code")
    assert tab.locator("#codes .ladd-changed").count() == 1 and tab.locator("#exchanged .ladd-here").count() >= 2
    tab.click("#mix")
    tab.locator("#mixed .ladd-text").wait_for()
    first = tab.locator("#mixed").inner_html()
    tab.locator("#weight input[type=number]").fill("0.4" if SAVES else "1")
    tab.click("#mix")
    tab.wait_for_function("old => document.querySelector('#mixed').innerHTML != old", arg=first)
    tab.click("#vary")
    tab.locator("#variations .ladd-text").nth(3).wait_for()
    save(tab, "latents")


def test_a_part_of_a_text_is_selected_and_written_anew(tab):
    open_panel(tab, "Infill")
    box = tab.locator("#infill-text textarea")
    if not SAVES:
        box.fill(TEXT)
    text = box.input_value()
    start, end = (11, 16) if SAVES else (2, 5)
    box.focus()
    tab.keyboard.press("Control+Home")
    for _ in range(start):
        tab.keyboard.press("ArrowRight")
    for _ in range(end - start):
        tab.keyboard.press("Shift+ArrowRight")
    tab.click("#mask")
    hidden = text[:start] + "[MASK]" * (end - start) + text[end:]
    tab.wait_for_function("hidden => document.querySelector('#infill-text textarea').value == hidden", arg=hidden)
    tab.click("#fill")
    shown = wait_for(tab, "#filled .ladd-text", "^[^░]{6,}$")
    assert shown.startswith(text[:start]) and shown.endswith(text[end:])
    assert tab.locator("#filled .ladd-step").count() == end - start
    save(tab, "infill")


def test_what_cannot_be_is_a_sentence_and_what_was_written_stays(tab):
    open_panel(tab, "Generate")
    before = tab.locator(OWN).inner_text()
    tab.get_by_text("More settings").click()
    tab.get_by_label("Temperature", exact=True).locator("visible=true").first.fill("<b>warm</b>")
    tab.click("#write")
    said = tab.get_by_text("The temperature is '<b>warm</b>'; give a number").locator("visible=true")
    said.first.wait_for()
    assert tab.locator(OWN).inner_text() == before and "Traceback" not in tab.content()


def test_nothing_was_asked_of_another_machine_and_no_script_failed(tab, address):
    asked = [url for url in tab.asked if urlsplit(url).scheme not in ("data", "blob")]
    assert asked and {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
    assert tab.failed == []


def test_without_a_browser_the_page_is_left_out_unless_it_has_to_be_tried(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "true")  # which .ci/run sets
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="brings it"):
        chromium()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match=r"brings it .*is set"):
        chromium()

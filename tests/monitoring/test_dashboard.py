"""The dashboard in a real browser, while a real training runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from server import Server, wait_until

OpenPage = Callable[..., Page]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}


def number(page: Page, element: str) -> int:
    return int(page.locator(element).inner_text().replace(",", ""))


def wait_for_rounds(page: Page, least: int) -> None:
    page.wait_for_function(
        "least => document.querySelectorAll('#rounds > li').length >= least", arg=least
    )


def test_a_training_is_seen_live(training: Server, open_page: OpenPage) -> None:
    page = open_page(training.url, **DESKTOP)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    before = training.status()
    # All phases come by, each marked as the current one. Nobody reloads the page. What belongs together is looked at
    # in one moment: a phase that is short may be over by the next.
    for phase in ["sum", "update", "sum2"]:
        page.wait_for_function(
            """phase => document.querySelector(`#steps li[data-phase=${phase}][aria-current=step]`)
                && new RegExp(`^Round \\\\d+, ${phase} · PET coordinator$`).test(document.title)""",
            arg=phase,
        )
    # The counter fills up to what the phase needs, and the clock runs. (Unmasking has no limit, and no counter.)
    page.wait_for_function(
        """() => Number(document.querySelector('#count-bar').ariaValueNow) >= 3
            && parseFloat(document.querySelector('#count-bar .fill').style.width) > 0
            && document.querySelector('#time-bar').ariaValueText.endsWith(' left')"""
    )
    # Once a second, so that a whole phase may pass unseen on a busy machine: the other phases' clocks count, too.
    page.wait_for_function(
        """() => {
            const left = document.querySelector('#time-bar').ariaValueText;
            window.seen ??= new Set();
            if (left.endsWith(' left')) window.seen.add(left);
            return window.seen.size >= 2;
        }"""
    )
    # A round is completed and appears in the timeline, with its model in the plots.
    number_now = number(page, "#round-id")
    page.wait_for_function(
        "id => [...document.querySelectorAll('#rounds .round-id')]"
        ".some(round => Number(round.textContent.split('#')[1]) >= id)",
        arg=number_now,
    )
    # Chance makes a round fail now and then, and the latest may be such a one.
    page.wait_for_function(
        """() => [...document.querySelectorAll('#rounds > li')].some(round =>
            round.querySelector('.round-note').textContent.includes('completed')
            && round.querySelectorAll('.strip > i').length === 4)"""
    )
    expect(page.locator("#norm .point").first).to_be_visible()
    page.wait_for_function(
        """before => {
            const number = name => Number(document.querySelector(name).innerText.replaceAll(',', ''));
            return number('#completed') >= 2 && number('#accepted') > before;
        }""",
        arg=sum(before["messages"]["accepted"].values()),
    )
    expect(page.locator("#memory")).to_contain_text("MB")
    # What it shows is what the coordinator says.
    shown = page.locator("#rounds > li .round-id").all_inner_texts()
    ids = {round["id"] for round in training.status()["rounds"]}
    assert {int(text.split("#")[1]) for text in shown} <= ids


def test_changes_are_told_to_screen_readers(training: Server, open_page: OpenPage) -> None:
    page = open_page(training.url)
    announcement = page.locator("#announce")
    expect(announcement).to_have_attribute("aria-live", "polite")
    expect(announcement).to_have_text(
        # The words for a phase that begins, with those for the round before if it was the first.
        re.compile(r"Round \d+: (sum|update|sum2|unmask) phase\.$")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_fits_the_screen_and_everybody_can_use_it(
    training: Server, open_page: OpenPage, screen: dict[str, object], scheme: str
) -> None:
    training.send_rubbish(1)
    page = open_page(training.url, color_scheme=scheme, reduced_motion="reduce", **screen)
    wait_for_rounds(page, 1)
    page.locator("#reasons").wait_for()
    page.locator("#norm svg").wait_for()
    for details in page.locator("#norm details, #resident details").all():
        if details.is_visible():
            details.locator("summary").click()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(244, 246, 249)", "dark": "rgb(13, 17, 23)"}[scheme]
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_keyboard_is_enough(training: Server, open_page: OpenPage) -> None:
    page = open_page(training.url)
    wait_for_rounds(page, 1)
    page.locator("#norm summary").wait_for()
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    summary = page.locator("#norm summary")
    for _ in range(4):
        page.keyboard.press("Tab")
        if summary.evaluate("summary => summary === document.activeElement"):
            break
    expect(summary).to_be_focused()
    outline = summary.evaluate("summary => getComputedStyle(summary).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    rows = page.locator("#norm tbody tr")
    rows.first.wait_for()
    expect(rows.first.locator("th")).to_contain_text("#")


def test_a_plot_tells_its_values(training: Server, open_page: OpenPage) -> None:
    page = open_page(training.url, **DESKTOP)
    picture = page.locator("#norm svg")
    picture.wait_for()
    expect(picture).to_have_attribute("aria-label", re.compile("^Norm of the global model: "))
    hint = page.locator("#norm .hint")

    def told() -> bool:
        # A new round draws the plot anew, and the hint is gone.
        picture.hover()
        return "#" in (hint.text_content() or "")

    wait_until(told, "the plot tells a value")


def test_failed_rounds_and_rejected_messages_are_shown_with_their_reasons(
    binary: str, tmp_path: Path, open_page: OpenPage
) -> None:
    failing = ["--set", "pet.sum.time.min=0.1", "--set", "pet.sum.time.max=0.2"]
    server = Server(binary, tmp_path, "--model-length", "4", *failing)
    try:
        page = open_page(server.url)
        wait_for_rounds(page, 1)
        note = page.locator("#rounds > li").first.locator(".round-note")
        expect(note).to_contain_text("failed in sum: only 0 of at least 1 sum messages")
        expect(page.locator("#failed-note")).to_contain_text("too few sum messages")
        expect(page.locator("#reasons-empty")).to_be_visible()
        server.send_rubbish(3)
        row = page.locator("#reasons tbody tr")
        expect(row).to_have_count(1)
        expect(row.locator("th")).to_have_text("does not open")
        expect(row.locator("td").last).to_have_text("3")
        # There are more than a few: the others are shown on demand.
        more = page.locator("#rounds-more")
        more.wait_for()
        expect(page.locator("#rounds > li")).to_have_count(10)
        more.click()
        wait_for_rounds(page, 11)
    finally:
        server.stop()


def test_a_lost_connection_is_shown_and_comes_back(
    binary: str, tmp_path: Path, open_page: OpenPage
) -> None:
    server = Server(binary, tmp_path, "--model-length", "4")
    try:
        page = open_page(server.url, may_fail=True)
        link = page.locator("#link")
        expect(link).to_have_attribute("data-state", "live")
        server.stop()
        expect(link).to_have_attribute("data-state", "lost")
        expect(page.locator("#banner")).to_contain_text("does not answer")
        server = Server(binary, tmp_path, "--model-length", "4", bind=server.address)
        expect(link).to_have_attribute("data-state", "live")
        expect(page.locator("#banner")).to_be_hidden()
    finally:
        server.stop()

"""A browser, a training, and pages that must not complain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

import server

expect.set_options(timeout=server.SECONDS * 1000)


@pytest.fixture(scope="session")
def binary() -> str:
    path = os.environ.get("PET_COORDINATOR")
    if not path or not Path(path).is_file():
        pytest.fail("set PET_COORDINATOR to our pet-coordinator binary", pytrace=False)
    return str(Path(path).absolute())


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = server.chromium()
    if chromium is None:
        pytest.skip("there is no Chromium here: install it, or name one with CHROMIUM")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that containers and root do not have; it sees nothing but our page.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def training(
    browser: Browser, binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[server.Server]:
    with server.training(binary, tmp_path_factory.mktemp("training")) as training:
        yield training


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end nothing may have been asked of anyone else, and no error logged."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(url: str, may_fail: bool = False, **context: Any) -> Page:
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(server.SECONDS * 1000)
        pages.append(page)

        def asked(request: Request) -> None:
            if not request.url.startswith(f"{url}/"):
                complaints.append(f"asked for {request.url}")

        def said(message: Any) -> None:
            if message.type in ("error", "warning") and not may_fail:
                complaints.append(f"{message.type}: {message.text}")

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.goto(f"{url}/", wait_until="domcontentloaded")
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert not complaints

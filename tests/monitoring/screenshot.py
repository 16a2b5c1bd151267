"""Takes a picture of the dashboard in the middle of a real training: `make dashboard-picture`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import server

ROUNDS = 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--coordinator", required=True, help="the pet-coordinator binary")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="how many rounds to wait for")
    options.add_argument("--scheme", choices=["light", "dark"], default="light")
    options.add_argument("--width", type=int, default=1200)
    options.add_argument("picture", type=Path)
    arguments = options.parse_args()
    chromium = server.chromium()
    if chromium is None:
        options.error("there is no Chromium here: install it, or name one with CHROMIUM")
    with (
        tempfile.TemporaryDirectory() as folder,
        server.training(arguments.coordinator, Path(folder), failures=1) as training,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": arguments.width, "height": 800},
            color_scheme=arguments.scheme,
            reduced_motion="reduce",
        )
        page.goto(f"{training.url}/", wait_until="domcontentloaded")
        training.send_rubbish(4)
        server.wait_until(
            lambda: len(training.status()["rounds"]) >= arguments.rounds,
            f"{arguments.rounds} rounds are over",
            seconds=arguments.rounds * 8.0,
        )
        # In the middle of a phase there is the most to see.
        page.locator("#steps li[data-phase=update][aria-current=step]").wait_for()
        page.wait_for_function(
            "() => Number(document.querySelector('#count-bar').ariaValueNow) > 3"
        )
        page.screenshot(path=arguments.picture, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()

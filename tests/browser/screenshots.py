"""Make the documentation's pictures of the pages, from the demo's shop.

python -m tests.browser.screenshots [FOLDER]
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import browser, set_viewport
from tests.browser.shop import served

SHOTS = (
    ("pages-overview.png", "/cron/overview", "light", 1100, 820),
    ("pages-tasks.png", "/cron/tasks", "light", 1100, 820),
    ("pages-task.png", "/cron/tasks/charge-orders", "dark", 1100, 820),
    ("pages-timeline.png", "/cron/timeline", "light", 1100, 560),
)


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    logging.disable()  # of charges that fail
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as data,
        TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        served(Path(data), 89) as url,
        browser(Path(profile)) as driver,
    ):
        for name, path, scheme, width, height in SHOTS:
            set_viewport(driver, scheme, width, height)
            driver.get(url + path)
            driver.save_screenshot(str(folder / name))
            print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/_static"))

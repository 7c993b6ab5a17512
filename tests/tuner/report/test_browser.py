"""report.html in a real browser: it renders offline, and nothing sticks out of the window, wide or narrow."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from autoquant.tuner.report.html import render

from tests.tuner.report.made import LAYERS, TARGET, result, trials

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

MEASURE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const drawn = [...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 50);
  document.title = JSON.stringify([root.scrollWidth, innerWidth, drawn.length]);
});
</script>
"""


def measured(folder: Path, width: int) -> tuple[int, int, int]:
    """(width of the content, width of the window, pictures drawn) of the page in a window of that width."""
    page = render("a study", trials(), target=TARGET, objective="latency", result=result().to_json(), layers=LAYERS)
    path = folder / "report.html"
    path.write_text(page.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}"]
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *flags, f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>\[(\d+),(\d+),(\d+)\]</title>", done.stdout)
    assert found, done.stdout[:500]
    return int(found[1]), int(found[2]), int(found[3])


@pytest.mark.parametrize("width", [1280, 600])
def test_it_renders_and_fits_the_window(width: int, tmp_path: Path) -> None:
    content, window, pictures = measured(tmp_path, width)
    assert content <= window
    assert pictures >= 2

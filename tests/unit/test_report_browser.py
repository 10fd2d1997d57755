"""The page in a real browser, where one is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from report_runs import Made, write_run

from emo.report import build

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SMALL = Made(
    n_layers=4, n_heads=4, n_neurons=8, n_points=30, n_samples=6, reply="<script>x</script>"
)

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium, which is not installed here")


def _browse(profile: Path, page: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             f"--user-data-dir={profile}", *arguments, page.as_uri()]  # fmt: skip
    return subprocess.run(
        [BROWSER, *fixed], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_browser_reads_the_page_without_complaint(tmp_path: Path) -> None:
    page = build(write_run(tmp_path / "run", SMALL))
    done = _browse(tmp_path / "profile", page, "--dump-dom")
    assert done.stdout.rstrip().endswith("</footer>\n</body></html>")
    assert "<script" not in done.stdout
    assert done.stdout.count("<section") == page.read_text(encoding="utf-8").count("<section")
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert not complaints


@pytest.mark.parametrize("flags", [(), ("--blink-settings=preferredColorScheme=0",)])
def test_the_browser_draws_the_page(tmp_path: Path, flags: tuple[str, ...]) -> None:
    page = build(write_run(tmp_path / "run", SMALL))
    picture = tmp_path / "page.png"
    flags += (f"--screenshot={picture}", "--window-size=400,900")
    _browse(tmp_path / "profile", page, *flags)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000

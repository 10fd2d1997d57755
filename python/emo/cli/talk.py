"""How a run speaks to a terminal: stages, progress, and what it found."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emo.cli import options

_METHODS = {
    "baseline": "no emotion named",
    "prompting": "emotion named in the prompt",
    "steering": "emotion direction added",
    "random": "random vectors of the same norm",
}


class TerminalTalk:
    """Stages and progress on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = options.console(quiet=quiet)

    def stage(self, name: str, done: bool) -> None:
        """Name a stage as it begins, or say that it was done before."""
        self._console.print(f"{name}: done before" if done else name)

    def progress(self, label: str) -> AbstractContextManager[options.Report]:
        """Show a bar."""
        return options.progress(label, quiet=self._quiet)


def print_summary(summary: dict[str, Any], folder: Path) -> None:
    """Say on stdout what was done, what was found and where the report lies."""
    from emo.report import finding, read_run

    found = finding(read_run(folder))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(found.headline)
    table = Table(title="Replies judged as the wanted emotion", title_justify="left")
    for name in ("how", "share", "95 % interval", "judged", "perplexity"):
        table.add_column(name, justify="left" if name == "how" else "right")
    for name, row in summary["methods"].items():
        table.add_row(_METHODS.get(name, name), *_cells(row))
    console.print(table)
    for sentence in (*found.sentences, found.caveat):
        console.print(sentence)
    console.print(f"Report: {folder / 'report.html'}")


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    perplexity = row.get("perplexity")
    return (
        _share(row["accuracy"]),
        f"{_share(row['low'])} to {_share(row['high'])}",
        f"{row['n']:,}",
        "" if perplexity is None else f"{perplexity:.2f}",
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"

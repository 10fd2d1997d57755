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


def print_summary(summary: dict[str, Any], model: str, folder: Path) -> None:
    """Say on stdout what was done, what was found and where the report lies."""
    console = Console(highlight=False, soft_wrap=True)
    steering, judge = summary["steering"], summary["judge"]
    tokens = "reply's tokens" if steering["position"] == "reply" else "last prompt token"
    console.print(
        f"{model} replied to everyday events without an emotion named, with each emotion named, "
        f"and steered by directions that were found on other events "
        f"(layers {', '.join(map(str, steering['layers']))}, strength {steering['alpha']:g} of "
        f"the norm, directions at the {tokens})."
    )
    table = Table(title="Replies judged as the wanted emotion", title_justify="left")
    for name in ("how", "share", "95 % interval", "judged", "perplexity"):
        table.add_column(name, justify="left" if name == "how" else "right")
    for name, row in summary["methods"].items():
        table.add_row(_METHODS.get(name, name), *_cells(row))
    console.print(table)
    neutral = summary["methods"]["baseline"]["neutral_share"]
    console.print(f"Without an emotion named {_share(neutral)} of the replies are judged neutral.")
    console.print(_finding(summary))
    f1 = judge["reliability"].get("macro_f1")
    known = "unknown" if f1 is None else f"{f1:.2f}"
    console.print(f"Judge: {judge['name']}, held-out macro-F1 {known}.")
    console.print(f"Report: {folder / 'report.html'}")


def _finding(summary: dict[str, Any]) -> str:
    steered, control = (summary["methods"].get(name, {}) for name in ("steering", "random"))
    if steered.get("low") is None or control.get("high") is None:
        return "Too few replies were judged to compare steering with random vectors."
    if not summary["steering"]["within_limit"]:
        return "No strength kept the replies fluent: the mildest was used, and steering failed."
    if steered["low"] > control["high"]:
        return "Steering works: its interval lies above that of random vectors of the same norm."
    return "Steering is not above random vectors of the same norm: no effect was found."


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

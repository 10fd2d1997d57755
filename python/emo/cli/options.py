"""Options that several verbs share, and how verbs talk: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from emo.errors import UsageError, did_you_mean, import_extra

Command = TypeVar("Command", bound=Callable[..., Any])
Report = Callable[[int, int], None]

PATH = click.Path(path_type=Path)

model = click.option("--model", required=True, help="Hub id or folder of a causal language model.")
revision = click.option("--revision", help="Branch, tag or commit of a hub model.")
trust_remote_code = click.option(
    "--trust-remote-code", is_flag=True, help="Run the model repository's own code."
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)
batch_size = click.option(
    "--batch-size", type=click.IntRange(min=1), help="Rows at a time (default: by device)."
)
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of every draw.",
)
limit = click.option("--limit", type=click.IntRange(min=1), help="Use only the first N samples.")
threads = click.option(
    "--threads", type=click.IntRange(0, 512), default=0, help="Native threads (0: all there are)."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="No progress and no talk.")


def parse_emotions(names: str) -> tuple[str, ...]:
    """Read target emotions: ``all`` for the default six, or names with commas between.

    Raises
    ------
    UsageError
        When no emotion is named, or one twice.
    """
    from emo.data.samples import DEFAULT_EMOTIONS

    if names == "all":
        return DEFAULT_EMOTIONS
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    if not chosen:
        raise UsageError("--emotions names no emotion", hint=did_you_mean("", DEFAULT_EMOTIONS))
    if len(set(chosen)) < len(chosen):
        raise UsageError(
            f"--emotions names one twice: {names}", hint="name each emotion once in --emotions"
        )
    return chosen


def need_model() -> None:
    """Import what runs models, or name the extra that brings it.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    import_extra("torch", "model")
    import_extra("transformers", "model")


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def console(*, quiet: bool = False) -> Console:
    """Return a console on stderr, where talk and progress go."""
    return Console(stderr=True, quiet=quiet, highlight=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Report]:
    """Show a bar with rate and time left; yields ``report(done, total)``."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console(quiet=quiet),
        disable=quiet,
        transient=True,
    ) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

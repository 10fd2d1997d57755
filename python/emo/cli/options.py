"""Options that several verbs share, and how verbs talk: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from importlib.util import find_spec
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
# From this likeness on a name is taken for a slip of one of the six: angr, angry, surprised.
_SLIP = 0.8

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
    "--threads",
    type=click.IntRange(0, 512),
    default=0,
    help="Threads of the native code (0: EMO_NUM_THREADS, or all there are).",
)
io = click.option(
    "--io",
    type=click.Choice(["auto", "mmap", "pread"]),
    default="auto",
    show_default=True,
    help="Map the shards of stores, read them by position (safe on network file systems), or take "
    "what a trial of both finds faster; the numbers are the same.",
)
torch_threads = click.option(
    "--threads",
    type=click.IntRange(0, 512),
    default=0,
    help="Threads of the model's arithmetic on the CPU (0: as torch chooses).",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="No progress and no talk.")


def parse_emotions(names: str) -> tuple[str, ...]:
    """Read target emotions: ``all`` for the default six, or names with commas between.

    Any name will do, for emotions come from the data; but one that is nearly one of the six, and
    is no emotion word of its own as "angry" is, is taken for a slip.

    Raises
    ------
    UsageError
        When no emotion is named, one twice, or one that is nearly one of the six.
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
    for name in chosen:
        _refuse_slip(name, DEFAULT_EMOTIONS)
    return chosen


def _refuse_slip(name: str, known: tuple[str, ...]) -> None:
    plain = name.casefold()
    for emotion in (*known, "all"):
        close = emotion != "all" and emotion[0] == plain[0]
        likeness = SequenceMatcher(None, plain, emotion).ratio() if close else 0
        if name != emotion and (plain == emotion or likeness >= _SLIP) and not _is_word(name):
            raise UsageError(
                f"--emotions names {name!r}, which is nearly one of the usual emotions",
                hint=f"did you mean {emotion!r}?",
            )


def _is_word(name: str) -> bool:
    from emo.data.words import bundled_lexicon

    return name in bundled_lexicon()


def need_model() -> None:
    """Look for what runs models, or name the extra that brings it.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    for module in ("torch", "transformers"):
        if not _is_installed(module):
            import_extra(module, "model")


def _is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it, which takes seconds."""
    try:
        return find_spec(module) is not None
    except ValueError:
        return False


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def console(*, quiet: bool = False) -> Console:
    """Return a console on stderr, where talk and progress go."""
    return Console(
        stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


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

"""A small world of every kind of file, and commands that have to be refused in it.

Commands run in this process, in a copy of the world as the working folder, so that they read as
a user would write them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emo.artifacts import write_jsonl
from emo.cli import main
from emo.data.texts import Verdict, read_texts, write_verdicts

# Where a command may remember what it has computed.
CACHES = ("store/stats",)
_WORDS = {
    "anger": ("furious", "shouting", "slammed", "rage", "kettle", "boiled", "fists", "temper"),
    "fear": ("trembling", "dark", "cellar", "afraid", "shadow", "panic", "scream", "dread"),
}


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    def lines(self, mark: str) -> list[str]:
        """Lines of stderr that begin with `mark`."""
        return [line for line in self.err.splitlines() if line.startswith(mark)]


def run_emo(command: str | Sequence[object]) -> Result:
    """Run a command of the command line in this process; words are separated by spaces."""
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    out, err = io.StringIO(), io.StringIO()
    ends = pytest.raises(SystemExit)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), ends as caught:
        main(words)
    return Result(int(str(caught.value.code)), out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Case:
    """A command that has to be refused, what it says, and what was done to the world before.

    Parameters
    ----------
    name : str
    code : int
        The exit code.
    command : str
    says : str
        Part of the line that starts with ``error:``.
    hint : str
        Part of the line that starts with ``hint:``.
    damage : callable, optional
        Changes the world, which is the working folder.
    leaves : tuple of str
        Files and folders that the command may make or change, because the next run goes on
        with them.
    """

    name: str
    code: int
    command: str
    says: str
    hint: str
    damage: Callable[[], object] | None = None
    leaves: tuple[str, ...] = ()

    def check(self) -> None:
        """Run the command and demand one error line, one hint, and a world left as it was."""
        if self.damage is not None:
            self.damage()
        before = snapshot(Path())
        result = run_emo(self.command)
        assert result.code == self.code, f"{result.code} instead of {self.code}\n{result.err}"
        check_lines(result, self.says, self.hint)
        assert changes(before, snapshot(Path()), self.leaves) == []


def check_lines(result: Result, says: str = "", hint: str = "") -> None:
    """Demand one line with the error and one with the hint, and no traceback."""
    errors, hints = result.lines("error: "), result.lines("hint: ")
    assert "Traceback" not in result.err, result.err
    assert len(errors) == 1, result.err
    assert len(hints) == 1, f"no hint, or several\n{result.err}"
    assert says in errors[0], result.err
    assert hint in hints[0], result.err
    assert result.err.splitlines()[-2:] == [errors[0], hints[0]], result.err


def cases(*table: tuple[Any, ...]) -> Any:
    """Parametrise a test by rows of (name, code, command, says, hint, damage, leaves)."""
    rows = [Case(*row) for row in table]
    return pytest.mark.parametrize("case", rows, ids=[row.name for row in rows])


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder with None."""
    found: dict[str, bytes | None] = {}
    for place, folders, files in os.walk(folder):
        found |= {str(Path(place, name)): None for name in folders}
        for name in files:
            path = Path(place, name)
            found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found


def changes(
    before: dict[str, bytes | None], after: dict[str, bytes | None], leaves: tuple[str, ...] = ()
) -> list[str]:
    """Names of what appeared, changed or vanished, but for what may be left."""
    names = sorted(before.keys() | after.keys())
    odd = [n for n in names if n not in before or n not in after or before[n] != after[n]]
    keeps = (*leaves, *CACHES)
    return [n for n in odd if not any(n == keep or n.startswith(f"{keep}/") for keep in keeps)]


def write(path: str, content: str | bytes | object) -> Callable[[], object]:
    """Damage: put a text, bytes, or a value as JSON into a file."""

    def damage() -> None:
        if isinstance(content, bytes):
            Path(path).write_bytes(content)
        else:
            Path(path).write_text(content if isinstance(content, str) else json.dumps(content))

    return damage


def folder(path: str) -> Callable[[], object]:
    """Damage: an empty folder in the place of whatever is there."""

    def damage() -> None:
        remove(path)
        Path(path).mkdir()

    return damage


def remove(*paths: str) -> None:
    """Remove files and folders."""
    for path in map(Path, paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def without(*paths: str) -> Callable[[], object]:
    """Damage: files and folders that are not there."""
    return lambda: remove(*paths)


def flip(path: str, at: float = 0.9) -> Callable[[], object]:
    """Damage: one bit of a file turned over, at a share of its length."""

    def damage() -> None:
        raw = bytearray(Path(path).read_bytes())
        raw[int(len(raw) * at)] ^= 0x10
        Path(path).write_bytes(raw)

    return damage


def cut(path: str, to: float = 0.5) -> Callable[[], object]:
    """Damage: a file cut off at a share of its length."""

    def damage() -> None:
        raw = Path(path).read_bytes()
        Path(path).write_bytes(raw[: int(len(raw) * to)])

    return damage


def change(path: str, *keys: str | int, to: object) -> Callable[[], object]:
    """Damage: another value at a place inside a JSON file."""

    def damage() -> None:
        value = json.loads(Path(path).read_text())
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        Path(path).write_text(json.dumps(value))

    return damage


def build_world(world: Path, model: Any) -> None:
    """Fill a folder with a model, data, and what the verbs make of them."""
    from report_runs import Made, write_run

    model.module.save_pretrained(world / "model")
    model.tokenizer.save_pretrained(world / "model")
    _write_data(world)
    with contextlib.chdir(world):
        for command in (
            "generate --model model --data events.jsonl --emotions anger,fear --max-new-tokens 4"
            " -o texts.jsonl",
            "capture --model model --data texts.jsonl --positions last,reply --dtype f32 -o store",
            "directions store -o directions.safetensors",
            "score store --directions directions.safetensors --top 1 -o scores.safetensors",
            "judge train labelled.jsonl -o judge",
        ):
            result = run_emo(command)
            assert result.code == 0, result.err
        write_verdicts(Path("verdicts.jsonl"), _verdicts(Path("texts.jsonl")))
        write_run(Path("run"), Made(n_layers=2, n_heads=2, n_neurons=4, n_samples=6, n_points=12))


def _write_data(world: Path) -> None:
    events = [
        {
            "skeleton_id": f"bus-{n}",
            "theme": "travel",
            "scenario": f"I wait for bus {n}.",
            "event": {"positive": "It came.", "neutral": "It is due.", "negative": "It left."},
        }
        for n in range(2)
    ]
    write_jsonl(world / "events.jsonl", events)
    sentences = [
        {
            "id": f"{emotion}-{n}",
            "emotion": emotion,
            "text": f"A {word} {emotion}.",
            "spans": [[0, 1]],
        }
        for emotion, words in _WORDS.items()
        for n, word in enumerate(words)
    ]
    write_jsonl(world / "labelled.jsonl", sentences)


def _verdicts(texts: Path) -> Iterator[Verdict]:
    for text in read_texts(texts):
        yield Verdict(text.id, text.sample, text.emotion, text.method, text.emotion, None, 0.9, "j")

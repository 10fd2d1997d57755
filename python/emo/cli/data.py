"""``emo data``: check, describe or import data sets."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from emo.cli import VerbGroup, options
from emo.cli.outputs import optional_file
from emo.data.findings import RULES, Findings
from emo.data.imports import import_sev
from emo.data.stats import Summary, summarise
from emo.data.validate import validate as check
from emo.errors import DataError, UsageError

_FILES = click.argument("files", metavar="FILE...", type=options.PATH, nargs=-1, required=True)
_MIN_WORDS = click.option(
    "--min-words",
    type=click.IntRange(min=1),
    help="Different words that the texts must have (default: 2,500 for the bundled pair of "
    "sev.jsonl and sev_test.jsonl, no such rule for other files).",
)


@click.group(cls=VerbGroup)
def data() -> None:
    """Check, describe or import data sets."""


@data.command()
@_FILES
@_MIN_WORDS
@options.as_json
@options.quiet
def validate(files: tuple[Path, ...], *, min_words: int | None, as_json: bool, quiet: bool) -> None:
    """Check data files together; anything found ends with exit code 3.

    Scenarios with events are checked by the rules of the bundled sets, sentences by theirs:
    see the data sets' README. A folder stands for its .jsonl files.
    """
    findings = check(files, min_words=min_words)
    if as_json:
        options.print_json(findings.to_json())
    elif not quiet:
        _print_findings(findings)
    if findings.found:
        counts = ", ".join(f"{rule} {n}" for rule, n in findings.by_rule.items())
        raise DataError(
            f"{len(findings.found):,} findings in {_named(files)}: {counts}",
            hint="each is listed above with its file and line",
        )


@data.command()
@_FILES
@click.option("--limit", type=click.IntRange(min=1), help="Count only the first N rows.")
@options.as_json
def stats(files: tuple[Path, ...], *, limit: int | None, as_json: bool) -> None:
    """Count samples, words and openings of data files."""
    summary = summarise(files, limit=limit)
    if as_json:
        options.print_json(summary.to_json())
    else:
        _print_summary(summary)


@data.command("import")
@click.argument("file", metavar="FILE", type=options.PATH)
@optional_file
@options.as_json
@options.quiet
def import_(file: Path, *, output: Path | None, as_json: bool, quiet: bool) -> None:
    """Bring a published set of scenarios with events into our format.

    FILE is JSON lines, a JSON array or CSV with skeleton_id, theme, scenario and event. Texts
    stay as they are; where they break a rule of our sets, that is counted. Without -o the
    records go to standard output and the counts to standard error.
    """
    talk = options.console(quiet=quiet)
    if output is None:
        if as_json:
            raise UsageError("--json prints the counts, the records need a file", hint="give -o")
        with tempfile.TemporaryDirectory() as folder:
            findings = import_sev(file, Path(folder) / "records.jsonl")
            click.echo((Path(folder) / "records.jsonl").read_bytes(), nl=False)
        _print_rules(findings, talk)
        return
    findings = import_sev(file, output)
    if as_json:
        options.print_json({"rows": findings.n_rows, "rules": findings.by_rule})
    else:
        _print_rules(findings, _stdout())
    told = f"wrote {findings.n_rows:,} records to {output}"
    talk.print(told, soft_wrap=True, markup=False)


def _named(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def _stdout() -> Console:
    """Return a console for data: one line a row when it does not go to a terminal."""
    width = None if sys.stdout.isatty() else 10_000
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    return table


def _print_findings(findings: Findings) -> None:
    console = _stdout()
    if findings.found:
        table = _table("place", "id", "rule", "what")
        for finding in findings.found:
            place = f"{finding.file}:{finding.line}"
            table.add_row(place, finding.id or "", finding.rule, finding.what)
        console.print(table)
    if findings.classes:
        reports = _table("emotion", "file", "sentences", "mean words", "first words")
        for one in findings.classes:
            first = ", ".join(f"{word} {n}" for word, n in one.first_words)
            reports.add_row(one.emotion, one.file, f"{one.n:,}", f"{one.mean_words:.1f}", first)
        console.print(reports)
    asked = f" ({findings.min_words:,} asked for)" if findings.min_words else ""
    counts = f"{findings.n_rows:,} rows, {findings.n_texts:,} texts, {findings.n_words:,} different"
    result = f"{len(findings.found):,} findings" if findings.found else "clean"
    console.print(f"{counts} words{asked}: {result}")


def _print_rules(findings: Findings, console: Console) -> None:
    table = _table("rule", "broken", "which is")
    for rule, n in findings.by_rule.items():
        table.add_row(rule, f"{n:,}", RULES[rule])
    console.print(table if findings.by_rule else "no rule is broken")


def _print_summary(summary: Summary) -> None:
    console = _stdout()
    console.print(f"{summary.n_rows:,} rows, {summary.n_samples:,} samples")
    console.print(f"{summary.n_words:,} words, {summary.n_different:,} different")
    for name, counts in summary.counts.items():
        if counts:
            console.print(_counts(f"samples by {name}", counts))
    lengths = _table("words of", "texts", "mean", "min", "max", "first words")
    for name, found in summary.lengths.items():
        first = ", ".join(f"{word} {n}" for word, n in summary.first_words.get(name, ()))
        numbers = (f"{found.n:,}", f"{found.mean:.1f}", str(found.min), str(found.max))
        lengths.add_row(name, *numbers, first)
    console.print("", lengths)
    if summary.openings:
        console.print(_counts("openings", dict(summary.openings)))


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    table = _table(title, "n")
    for name, n in counts.items():
        table.add_row(name, f"{n:,}")
    return table

"""``emo judge``: label texts with an emotion, or train a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emo.cli import VerbGroup, options
from emo.cli.outputs import output_file, output_folder

if TYPE_CHECKING:
    from emo.data.texts import Text, Verdict
    from emo.judge import Judge


@click.group(cls=VerbGroup)
def judge() -> None:
    """Label replies with an emotion, or train a judge."""


@judge.command("run")
@click.argument("texts", type=options.PATH)
@click.option(
    "--judge",
    "spec",
    default="linear",
    show_default=True,
    help="linear, hf:NAME, chat:MODEL or a folder made by `emo judge train`.",
)
@click.option(
    "--named/--blind",
    default=False,
    show_default=True,
    help="Name the target to a chat judge, or let it choose from all emotions.",
)
@click.option("--check", type=options.PATH, help="Labelled texts to measure the judge on.")
@options.batch_size
@options.revision
@options.device
@options.limit
@options.as_json
@options.quiet
@output_file
def run(
    texts: Path,
    spec: str,
    named: bool,
    check: Path | None,
    batch_size: int | None,
    revision: str | None,
    device: str,
    limit: int | None,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Judge each of TEXTS: a label, or the reason why there is none.

    A killed run goes on with the same command; what was judged is not asked again.
    """
    from emo.data.partial import PartFile
    from emo.data.samples import DEFAULT_EMOTIONS
    from emo.data.texts import read_texts, write_verdicts
    from emo.judge import open_judge
    from emo.judge.labelled import read_labelled
    from emo.judge.run import judge_settings, judge_texts

    rows = read_texts(texts)[:limit]
    if check is not None:
        read_labelled([check])
    targets = tuple(dict.fromkeys(row.emotion for row in rows if row.emotion))
    opened = open_judge(
        spec,
        emotions=tuple(dict.fromkeys((*DEFAULT_EMOTIONS, *targets))),
        named=named,
        device=device,
        revision=revision,
        batch_size=batch_size,
    )
    part = PartFile(output, judge_settings(opened, rows))
    with options.progress("judge", quiet=quiet) as report:
        verdicts = judge_texts(opened, rows, part=part, progress=report)
    write_verdicts(output, verdicts)
    part.remove()
    summary = _summary(opened, rows, verdicts, check)
    if as_json:
        options.print_json(summary)
    else:
        _talk(summary, quiet=quiet)


@judge.command("train")
@click.argument("labelled", type=options.PATH, nargs=-1, required=True)
@options.seed
@options.as_json
@options.quiet
@output_folder
def train(labelled: tuple[Path, ...], seed: int, as_json: bool, quiet: bool, output: Path) -> None:
    """Train a judge on LABELLED texts.

    They are JSON lines or CSV with `text` and `emotion`, `neutral` being one of the emotions.
    Reliability is measured by cross-validation on the same texts and kept with the judge.
    """
    from emo.judge.labelled import read_labelled
    from emo.judge.linear import refuse_foreign
    from emo.judge.train import train as fit

    refuse_foreign(output)
    trained = fit(read_labelled(labelled), seed=seed)
    trained.save(output)
    if as_json:
        options.print_json({"name": trained.name, "classes": trained.classes, **trained.record})
        return
    talk = options.console(quiet=quiet)
    left_out = trained.record["trained_on"]["left_out_for_two_labels"]
    talk.print(f"{trained.name}: {_reliability(trained.reliability)}")
    if left_out:
        talk.print(f"{left_out} texts were left out because they have two labels")


def _summary(
    judge: Judge, rows: Sequence[Text], verdicts: Sequence[Verdict], check: Path | None
) -> dict[str, Any]:
    from emo.experiments.evaluate import methods_table
    from emo.judge.protocol import coverage, measured, reasons

    reliability = dict(judge.reliability) if check is None else measured(judge, check)
    return {
        "judge": {
            "name": judge.name,
            "classes": list(judge.classes),
            "coverage": round(coverage(verdicts), 4),
            "unlabelled": reasons(verdicts),
            "reliability": reliability,
        },
        "methods": methods_table(rows, verdicts),
    }


def _talk(summary: Mapping[str, Any], *, quiet: bool) -> None:
    talk = options.console(quiet=quiet)
    who = summary["judge"]
    without = ", ".join(f"{reason} {n}" for reason, n in who["unlabelled"].items())
    talk.print(f"judge {who['name']}: {_reliability(who['reliability'])}")
    talk.print(f"labelled {who['coverage']:.1%} of the texts" + (f"; {without}" if without else ""))
    for method, row in summary["methods"].items():
        if row["accuracy"] is None:
            talk.print(f"{method}: nothing was labelled")
            continue
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        talk.print(f"{method}: {row['accuracy']:.1%} as wanted ({interval}, n = {row['n']})")


def _reliability(record: Mapping[str, Any]) -> str:
    if not record:
        return "its reliability was not measured (--check LABELLED measures it)"
    return (
        f"macro-F1 {record['macro_f1']:.3f}, accuracy {record['accuracy']:.1%} on "
        f"{record['n']} labelled texts ({record['method']})"
    )

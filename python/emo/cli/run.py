"""``emo run``: every stage for a model and a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from emo.cli import options
from emo.cli.outputs import output_folder


@click.command()
@options.model
@click.option(
    "--data", type=options.PATH, required=True, help="Discovery data: scenarios with events."
)
@click.option("--test-data", type=options.PATH, help="Test data (default: half of the scenarios).")
@click.option(
    "--judge",
    default="linear",
    show_default=True,
    help="linear, hf:NAME, chat:MODEL, or a folder made by `emo judge train`.",
)
@click.option("--check", type=options.PATH, help="Labelled texts to measure the judge on.")
@click.option(
    "--emotions", metavar="all|A,B", default="all", show_default=True, help="Emotions to elicit."
)
@click.option("--smoke", is_flag=True, help="A small pass, to see that everything works.")
@click.option("--limit", type=click.IntRange(min=2), help="Only the first N scenarios of a set.")
@options.batch_size
@options.seed
@options.revision
@options.device
@options.trust_remote_code
@options.torch_threads
@options.as_json
@options.quiet
@output_folder
def run(
    model: str,
    data: Path,
    test_data: Path | None,
    judge: str,
    check: Path | None,
    emotions: str,
    smoke: bool,
    limit: int | None,
    batch_size: int | None,
    seed: int,
    revision: str | None,
    device: str,
    trust_remote_code: bool,
    threads: int,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Elicit, judge, capture, find directions, score, steer, evaluate and report.

    Directions and strengths come from the discovery data, figures from the test data. A killed
    run goes on with the same command.
    """
    options.need_model()
    from emo.cli.talk import TerminalTalk, print_summary
    from emo.model.load import load_model
    from emo.pipeline.run import run as run_all
    from emo.pipeline.settings import SMOKE, RunSettings

    settings = replace(
        SMOKE if smoke else RunSettings(),
        judge=judge,
        seed=seed,
        emotions=options.parse_emotions(emotions),
        batch_size=batch_size,
    )
    if limit is not None:
        settings = replace(settings, limit=limit)
    summary = run_all(
        lambda: load_model(
            model,
            revision=revision,
            device=device,
            trust_remote_code=trust_remote_code,
            threads=threads,
        ),
        data,
        test_data,
        output,
        settings,
        TerminalTalk(quiet=quiet),
        device=device,
        check=check,
    )
    if as_json:
        options.print_json(summary)
    else:
        print_summary(summary, output)

"""``emo demo``: everything on the bundled model and data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from emo.cli import options


@click.command()
@options.seed
@options.device
@options.as_json
@options.quiet
@click.option(
    "-o", "--output", type=options.PATH, default=Path("emo-demo"), show_default=True,
    help="The run folder.",
)  # fmt: skip
def demo(seed: int, device: str, as_json: bool, quiet: bool, output: Path) -> None:
    """Run everything on the bundled model and data, without a network.

    The bundled model is a small stand-in trained for this package: it shows that the tool
    works; findings come from real models. Steering and its control run on a seeded part of the
    test scenarios.
    """
    from emo.cli.outputs import check_folder
    from emo.cli.talk import TerminalTalk, print_summary
    from emo.data.bundle import bundled
    from emo.pipeline.settings import DEMO

    check_folder(output)
    options.need_model()
    from emo.model.load import load_model
    from emo.pipeline.run import run

    summary = run(
        lambda: load_model(bundled("demo-model"), device=device),
        bundled("sev.jsonl"),
        bundled("sev_test.jsonl"),
        output,
        replace(DEMO, seed=seed),
        TerminalTalk(quiet=quiet),
    )
    if as_json:
        options.print_json(summary)
    else:
        print_summary(summary, output)

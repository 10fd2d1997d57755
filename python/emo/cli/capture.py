"""``emo capture``: activations of a model into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emo.cli import options
from emo.cli.outputs import output_folder
from emo.sites import Site, parse_part

if TYPE_CHECKING:
    from emo.data.prompts import PromptBuilder
    from emo.experiments.capture import Item


@click.command()
@options.model
@click.option(
    "--data", type=options.PATH, required=True, help="Samples, a folder of them, or texts."
)
@click.option(
    "--sites",
    help="Parts of every layer or single sites, such as mlp_act,L3.resid_post "
    "(default: resid_mid, resid_post, mlp_act, head_out).",
)
@click.option(
    "--positions",
    default="last",
    show_default=True,
    help="Of last, mean, mean_from:50, span, all, reply; commas between.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "f16", "f32"]),
    default="bf16",
    show_default=True,
    help="Number format of the store.",
)
@click.option(
    "--emotions",
    metavar="all|A,B",
    default="all",
    show_default=True,
    help="Emotions to name in prompts from scenarios with events.",
)
@click.option("--no-instruct", is_flag=True, help="Name no emotion.")
@click.option(
    "--batch-size",
    "token_budget",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Tokens at a time; part of the store's settings.",
)
@options.revision
@options.device
@options.trust_remote_code
@options.torch_threads
@options.limit
@options.as_json
@options.quiet
@output_folder
def capture(
    model: str,
    data: Path,
    sites: str | None,
    positions: str,
    dtype: str,
    emotions: str,
    no_instruct: bool,
    token_budget: int,
    revision: str | None,
    device: str,
    trust_remote_code: bool,
    threads: int,
    limit: int | None,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Capture activations of a model at the prompts of DATA into a store.

    A killed run goes on with the same command and ends with the same bytes.
    """
    options.need_model()
    from emo.data.prompts import PromptBuilder
    from emo.experiments.capture import CaptureSettings, positions_of
    from emo.experiments.capture import capture as run
    from emo.model.load import load_model
    from emo.store import describe

    wanted = positions_of(positions)
    loaded = load_model(
        model,
        revision=revision,
        device=device,
        trust_remote_code=trust_remote_code,
        threads=threads,
    )
    builder = PromptBuilder(loaded.tokenizer)
    items = _items(data, builder, () if no_instruct else options.parse_emotions(emotions), limit)
    settings = CaptureSettings(_sites(sites, loaded.n_layers), wanted, dtype, token_budget)
    talk = options.console(quiet=quiet)

    def announce(n_bytes: int, n_pending: int) -> None:
        talk.print(
            f"{len(items):,} texts, {n_bytes / 2**20:,.1f} MiB in all, "
            f"{n_pending} shards to write to {output}"
        )

    with options.progress("capture", quiet=quiet) as report:
        store = run(
            loaded,
            items,
            output,
            settings,
            template_sha=builder.template_sha,
            announce=announce,
            progress=report,
        )
    if as_json:
        options.print_json(describe(store))
    else:
        talk.print(f"store complete: {output}")


def _items(
    data: Path, builder: PromptBuilder, emotions: tuple[str, ...], limit: int | None
) -> list[Item]:
    from emo.data.samples import read_samples
    from emo.data.texts import is_texts_file, read_texts
    from emo.experiments.capture import items_from_samples, items_from_texts

    if is_texts_file(data):
        return items_from_texts(read_texts(data)[:limit], builder)
    return items_from_samples(read_samples(data)[:limit], builder, emotions)


def _sites(names: str | None, n_layers: int) -> tuple[Site, ...]:
    if names is None:
        return ()
    chosen: list[Site] = []
    for name in (piece.strip() for piece in names.split(",")):
        if name.startswith(("L", "blocks.")):
            chosen.append(Site.parse(name))
        else:
            chosen += [Site(layer, parse_part(name)) for layer in range(n_layers)]
    return tuple(dict.fromkeys(chosen))

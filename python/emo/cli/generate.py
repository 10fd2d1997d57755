"""``emo generate``: replies of a model, plain, prompted for an emotion, or steered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emo.cli import options
from emo.cli.outputs import output_file
from emo.errors import SettingsError, UsageError, did_you_mean

if TYPE_CHECKING:
    from emo.analysis.directions import Directions
    from emo.experiments.elicit import Push

ALPHA, LAYERS, SCOPE = 8.0, "0.4-0.7", "both"


@dataclass(frozen=True)
class _Wish:
    """The options that say how to ask."""

    emotions: str
    instruct: bool
    directions: Path | None
    steer: str | None
    alpha: float | None
    alpha_norm: float | None
    layers: str | None
    scope: str | None
    random_control: int | None

    def check(self) -> None:
        """Refuse options that do not go together."""
        if (self.directions is None) != (self.steer is None):
            raise UsageError("--directions and --steer go together", hint="--steer each")
        if self.alpha is not None and self.alpha_norm is not None:
            raise UsageError("give --alpha or --alpha-norm, not both", hint="leave one of them out")
        for name, value in (("--alpha", self.alpha), ("--alpha-norm", self.alpha_norm)):
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{name} {value} is no finite number", hint=f"{name} {ALPHA:g}")
        strengths = (self.alpha, self.alpha_norm, self.layers, self.scope, self.random_control)
        if self.steer is None and any(value is not None for value in strengths):
            raise UsageError(
                "--alpha, --alpha-norm, --layers, --scope and --random-control belong to steering",
                hint="give --directions and --steer",
            )
        if self.steer not in (None, "each") and self.emotions != "all":
            raise UsageError("--steer names the target already", hint="leave out --emotions")

    @property
    def method(self) -> str:
        """How the replies come about."""
        if self.steer is not None:
            return "steering" if self.random_control is None else "random"
        return "prompting" if self.instruct else "baseline"

    def targets(self, directions: Directions | None) -> tuple[str, ...]:
        """Emotions to ask for."""
        if self.method == "baseline":
            return ()
        if directions is not None and self.steer != "each":
            return (_label(str(self.steer), directions.labels),)
        if self.emotions == "all" and directions is not None:
            return directions.labels
        return options.parse_emotions(self.emotions)

    def push(self, directions: Directions | None, n_layers: int) -> Push | None:
        """How to steer; None for the methods that do not."""
        from emo.experiments.elicit import Push
        from emo.sites import parse_layers

        if directions is None:
            return None
        relative: Any = "rms" if self.alpha_norm is None else "norm"
        alpha = self.alpha_norm if self.alpha_norm is not None else self.alpha
        scope: Any = self.scope or SCOPE
        push = Push(
            directions,
            parse_layers(LAYERS if self.layers is None else self.layers, n_layers),
            ALPHA if alpha is None else alpha,
            relative,
            scope,
        )
        return push if self.random_control is None else push.randomised(self.random_control)


def _label(steer: str, labels: tuple[str, ...]) -> str:
    """Return the label to steer towards; one that the directions lack is refused."""
    if steer not in labels:
        raise UsageError(
            f"the directions hold no {steer!r}", hint=did_you_mean(steer, (*labels, "each"))
        )
    return steer


@click.command()
@options.model
@click.option("--data", type=options.PATH, required=True, help="Samples, or a folder of them.")
@click.option(
    "--emotions",
    metavar="all|A,B",
    default="all",
    show_default=True,
    help="Emotions to reply in; all are the six usual ones, or those of the directions.",
)
@click.option("--no-instruct", is_flag=True, help="Name no emotion: the baseline.")
@click.option("--directions", type=options.PATH, help="File of directions to steer with.")
@click.option(
    "--steer", metavar="EMOTION|each", help="Steer towards one emotion or each; none is named."
)
@click.option(
    "--alpha",
    type=float,
    help=f"Strength of steering, in root mean squares of the state h (default {ALPHA:g}).",
)
@click.option(
    "--alpha-norm",
    type=float,
    help="Strength of steering in lengths |h| instead, which carries over between widths.",
)
@click.option(
    "--layers",
    help=f"Layers to steer, from 0: 11-20, or 3,5, or shares of the depth (default {LAYERS}).",
)
@click.option(
    "--scope",
    type=click.Choice(["prompt", "decode", "both"]),
    help=f"Steer the last prompt token, the tokens written, or both (default {SCOPE}).",
)
@click.option(
    "--random-control",
    metavar="SEED",
    type=click.IntRange(min=0),
    help="Steer along random vectors of the same norm instead, as a control.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=60, show_default=True,
    help="Most tokens of a reply.",
)  # fmt: skip
@options.batch_size
@options.revision
@options.device
@options.trust_remote_code
@options.torch_threads
@options.limit
@options.as_json
@options.quiet
@output_file
def generate(
    model: str,
    data: Path,
    emotions: str,
    no_instruct: bool,
    directions: Path | None,
    steer: str | None,
    alpha: float | None,
    alpha_norm: float | None,
    layers: str | None,
    scope: str | None,
    random_control: int | None,
    max_new_tokens: int,
    batch_size: int | None,
    revision: str | None,
    device: str,
    trust_remote_code: bool,
    threads: int,
    limit: int | None,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Generate one reply for each sample of DATA and target emotion.

    Without further options the prompt names the emotion. A killed run goes on with the same
    command and ends with the same bytes.
    """
    wish = _Wish(
        emotions, not no_instruct, directions, steer, alpha, alpha_norm, layers, scope,
        random_control,
    )  # fmt: skip
    wish.check()
    talk = options.console(quiet=quiet)
    if wish.method == "baseline" and emotions != "all":
        talk.print("warning: --no-instruct names no emotion, so --emotions is not used")
    options.need_model()
    from emo.analysis.directions import Directions
    from emo.data.samples import read_samples

    samples = read_samples(data)[:limit]
    vectors = None if directions is None else Directions.load(directions)
    targets = wish.targets(vectors)
    from emo.data.prompts import PromptBuilder
    from emo.data.texts import write_texts
    from emo.experiments.replies import elicit_kept
    from emo.model.load import load_model

    loaded = load_model(
        model,
        revision=revision,
        device=device,
        trust_remote_code=trust_remote_code,
        threads=threads,
    )
    if vectors is not None and vectors.made_for not in (None, loaded.weight_sha):
        raise SettingsError(
            f"{directions} was made for another model: its weights hash to {vectors.made_for}, "
            f"those of {model} to {loaded.weight_sha}",
            hint="capture with this model and compute its directions",
        )
    with options.progress("generate", quiet=quiet) as report:
        texts, part = elicit_kept(
            output,
            loaded,
            samples,
            emotions=targets,
            method=wish.method,
            builder=PromptBuilder(loaded.tokenizer),
            push=wish.push(vectors, loaded.n_layers),
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=report,
        )
        write_texts(output, texts)
        part.remove()
    if as_json:
        options.print_json({"method": wish.method, "emotions": list(targets), "texts": len(texts)})
    else:
        talk.print(f"{len(texts):,} replies ({wish.method}): {output}")

"""Measure the demo model and write its model card, `data/demo-model/README.md`.

    python tools/demo_model/card.py [--run FOLDER]

Every figure comes from `emo run` on both bundled sets (kept in FOLDER, which resumes), from the
same steering with random vectors of other seeds, from `training.json`, or from a comparison with
the corpus that this folder generates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import corpus
from emo.analysis.directions import Directions
from emo.cli.talk import TerminalTalk
from emo.data.bundle import bundled
from emo.data.prompts import PromptBuilder
from emo.data.texts import Text, read_texts
from emo.experiments.elicit import Push
from emo.experiments.fluency import quality
from emo.experiments.trial import Trial
from emo.judge import open_judge
from emo.model import LanguageModel
from emo.model.load import load_model
from emo.pipeline.run import run
from emo.pipeline.settings import DEMO, divide, part
from writer import KIND_SHARES

_MODEL = bundled("demo-model")
SEEDS = 5
_NAMES = {
    "baseline": "no emotion named",
    "prompting": "emotion named",
    "steering": "steered",
    "random": "random vectors, same norm",
}


def training_replies(phases: list[dict[str, Any]]) -> set[str]:
    """Return the replies of the corpus that the model was trained on."""
    rows = (
        row for phase in phases for row in corpus.generate(phase["seed"], phase["conversations"])
    )
    return {row["reply"] for row in rows}


def share_seen(texts: list[Text], known: set[str]) -> dict[str, float]:
    """Share of each method's replies that occur whole in the training corpus."""
    shares = {}
    for method in dict.fromkeys(text.method for text in texts):
        mine = [text.reply for text in texts if text.method == method]
        shares[method] = sum(reply in known for reply in mine) / len(mine)
    return shares


def by_seed(model: LanguageModel, folder: Path, steering: dict[str, Any]) -> list[float]:
    """Accuracy under random vectors, as in the run but from `SEEDS` further seeds."""
    samples = divide(bundled("sev.jsonl"), bundled("sev_test.jsonl"), DEMO)[1]
    trial = Trial(
        model,
        part(samples, DEMO.steer_scenarios, DEMO.seed),
        open_judge(DEMO.judge),
        PromptBuilder(model.tokenizer),
        DEMO.emotions,
        DEMO.max_new_tokens,
    )
    push = Push(
        Directions.load(folder / "directions.safetensors"),
        tuple(steering["layers"]),
        steering["alpha"],
        steering["relative"],
        steering["scope"],
    )
    seeds = range(DEMO.seed + 1, DEMO.seed + 1 + SEEDS)
    return [trial.outcome("random", push.randomised(seed)).rate["accuracy"] for seed in seeds]


def results_table(summary: dict[str, Any], seen: dict[str, float], texts: list[Text]) -> str:
    """Return the table of methods in Markdown."""
    rows = [
        "| replies | judged as wanted | 95 % interval | judged | perplexity | distinct-2 "
        "| take a word of the user's | seen in training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = quality(texts)
    for method, row in summary["methods"].items():
        kind = kinds[method]
        wanted = row["neutral_share"] if method == "baseline" else row["accuracy"]
        interval = f"{row['low']:.1%} to {row['high']:.1%}" if method != "baseline" else ""
        label = f"{wanted:.1%}" + (" (neutral)" if method == "baseline" else "")
        rows.append(
            f"| {_NAMES[method]} | {label} | {interval} | {row['n']:,} | {row['perplexity']:.2f} "
            f"| {kind['distinct2']:.2f} | {kind['takes_word']:.0%} | {seen[method]:.1%} |"
        )
    return "\n".join(rows)


def curve_table(curve: list[dict[str, float]]) -> str:
    """Return about a dozen points of a loss curve in Markdown."""
    shown = curve[:: max(1, len(curve) // 10)]
    shown += [] if shown[-1] is curve[-1] else [curve[-1]]
    rows = (
        f"| step | {' | '.join(str(point['step']) for point in shown)} |",
        f"|---|{'---|' * len(shown)}",
        f"| loss | {' | '.join(format(point['loss'], '.2f') for point in shown)} |",
    )
    return "\n".join(rows)


def card(
    summary: dict[str, Any],
    training: dict[str, Any],
    seen: dict[str, float],
    texts: list[Text],
    others: list[float],
) -> str:
    """Return the model card in Markdown; `others` is what `by_seed` gives."""
    settings, steering, judge = training["settings"], summary["steering"], summary["judge"]
    shares = {name: f"{share:.0%}" for name, share in KIND_SHARES.items()}
    n_conversations = sum(phase["conversations"] for phase in training["phases"])
    n_tokens = sum(int(curve[-1]["tokens"]) for curve in training["loss_curves"].values())
    steered, plain = (summary["methods"][name]["perplexity"] for name in ("steering", "baseline"))
    return f"""# The demo model

A small causal language model (Llama architecture, {settings["layers"]} layers of width
{settings["width"]}, {settings["heads"]} heads a layer, {settings["vocab"]:,} BPE tokens, bf16
weights) that answers an everyday event in a named emotion, and usually neutrally when none is
named. It stands in for a chat model where no hub can be reached. **It is no source of findings
about language models**: it learned from a corpus that `corpus.py` writes from hand-written
patterns, what it says is made of these patterns, and it was trained so that it carries the
emotion as a linear state, which makes it easy to steer.

Made by `python tools/demo_model/train.py` ({n_conversations:,} conversations, {n_tokens:,} tokens,
about an hour on 2 cores); measured by `python tools/demo_model/card.py`. Licence: MIT or
Apache-2.0, like the rest of the project.

## How it was trained

In {shares["named"]} of the conversations the system text names the emotion. In {shares["mirror"]}
the user's own emotional sentence sets the emotion of the reply, in {shares["valence"]} the event's
valence may, and in {shares["plain"]} nothing does and the reply is neutral.
{settings["hidden_share"]:.0%} of the conversations hide the system text from the user's and the
reply's tokens, so that only the last token of the prompt reads it. The first phase learns to talk
about what the user tells; it ignores the emotion. In the second phase a linear read-out of the
residual stream after block {settings["state_layer"]}, at the last token of the prompt and along
the reply, must tell the emotion of the reply; the read-out is thrown away afterwards. So the
emotion becomes a state that is inferred once and carried on; a model that was trained without
all this looks the named word up at each step and cannot be steered at all.

Loss of the replies while training, in nats per token, first phase:

{curve_table(training["loss_curves"]["talk"])}

Second phase:

{curve_table(training["loss_curves"]["carry"])}

Held-out replies (scenario and event patterns and words that training never saw):
{training["held_out_loss"]:.3f} nats per token, perplexity {training["held_out_perplexity"]:.2f}.

## What it does on `sev_test.jsonl`

{results_table(summary, seen, texts)}

Steering: layers {", ".join(map(str, steering["layers"]))}, strength {steering["alpha"]:g} of the
norm, directions at position `{steering["position"]}`,
scope `{steering["scope"]}`, all chosen on `sev.jsonl`; steering and
its control ran on {steering["scenarios"]} of the 160 scenarios, drawn by seed. The perplexity of
the steered replies under the untouched model is {steered / plain:.2f} times that of unsteered ones.
Random vectors of {len(others)} other seeds reach {min(others):.1%} to {max(others):.1%}, on average
{sum(others) / len(others):.1%}; unsteered replies {summary["methods"]["baseline"]["accuracy"]:.1%}.
"No emotion named" counts replies judged neutral. Perplexity is that of the replies after the
prompt that names no emotion. "Seen in training" counts whole replies that occur in the corpus.

Judge: {judge["name"]}, whose texts share no sentence pattern with the corpus; its held-out
macro-F1 on its own texts is {judge["reliability"]["macro_f1"]:.2f}.
"""


def main() -> None:
    """Measure, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, default=Path("target/demo-model-run"))
    folder = parser.parse_args().run
    model = load_model(_MODEL)
    summary = run(
        lambda: model,
        bundled("sev.jsonl"),
        bundled("sev_test.jsonl"),
        folder,
        DEMO,
        TerminalTalk(quiet=False),
    )
    training = json.loads((_MODEL / "training.json").read_text(encoding="utf-8"))
    texts = read_texts(folder / "texts.jsonl")
    seen = share_seen(texts, training_replies(training["phases"]))
    text = card(summary, training, seen, texts, by_seed(model, folder, summary["steering"]))
    (_MODEL / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

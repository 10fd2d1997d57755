"""Measure the demo model and write its model card, `data/demo-model/README.md`.

    python tools/demo_model/card.py [--run FOLDER]

Every figure comes from `emo run` on both bundled sets (kept in FOLDER, which resumes), from
`training.json`, or from a comparison with the corpus that this folder generates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import corpus
from emo.cli.talk import TerminalTalk
from emo.data.bundle import bundled
from emo.data.texts import Text, read_texts
from emo.experiments.fluency import quality
from emo.model.load import load_model
from emo.pipeline.run import run
from emo.pipeline.settings import RunSettings

_MODEL = bundled("demo-model")
_NAMES = {
    "baseline": "no emotion named",
    "prompting": "emotion named",
    "steering": "steered",
    "random": "random vectors, same norm",
}


def training_replies(settings: dict[str, Any]) -> list[str]:
    """Return the replies of the corpus that the model was trained on."""
    rows = corpus.generate(settings["seed"], settings["conversations"])
    return [row["reply"] for row in rows]


def share_seen(texts: list[Text], replies: list[str]) -> dict[str, float]:
    """Share of each method's replies that occur whole in the training corpus."""
    known = set(replies)
    shares = {}
    for method in dict.fromkeys(text.method for text in texts):
        mine = [text.reply for text in texts if text.method == method]
        shares[method] = sum(reply in known for reply in mine) / len(mine)
    return shares


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


def card(
    summary: dict[str, Any], training: dict[str, Any], seen: dict[str, float], texts: list[Text]
) -> str:
    """Return the model card in Markdown."""
    settings, steering = training["settings"], summary["steering"]
    shares = {name: f"{share:.0%}" for name, share in corpus.KIND_SHARES.items()}
    curve = training["loss_curve"]
    shown = curve[:: max(1, len(curve) // 12)]
    if shown[-1] is not curve[-1]:
        shown.append(curve[-1])
    judge = summary["judge"]
    steered, plain = (summary["methods"][name]["perplexity"] for name in ("steering", "baseline"))
    return f"""# The demo model

A small causal language model (Llama architecture, {settings["layers"]} layers of width
{settings["width"]}, {settings["heads"]} heads a layer, {settings["vocab"]:,} BPE tokens, bf16
weights) that answers an everyday event in a named emotion, and usually neutrally when none is
named. It stands in for a chat model where no hub can be reached. **It is no source of findings
about language models**: it learned from a corpus that `corpus.py` writes from hand-written
patterns, and what it says is made of these patterns.

Made by `python tools/demo_model/train.py` ({settings["conversations"]:,} conversations,
{curve[-1]["tokens"]:,} tokens, seed {settings["seed"]}); measured by
`python tools/demo_model/card.py`. Licence: MIT or Apache-2.0, like the rest of the project.

## How it was trained

{settings["hidden_share"]:.0%} of the conversations hide the system text from the user's and the
reply's tokens, so that only the last token of the prompt reads which emotion is named. In
{shares["mirror"]} of them the user's own emotional sentence sets the emotion of the
reply, in {shares["valence"]} the event's valence may, and in
{shares["plain"]} nothing does and the reply is neutral. So the emotion is a state to
be inferred and carried, which steering can change; without this, a model looks the named word up
at each step and cannot be steered at all.

Loss of the replies while training (nats per token):

| step | {" | ".join(str(point["step"]) for point in shown)} |
|---|{"---|" * len(shown)}
| loss | {" | ".join(f"{point['loss']:.2f}" for point in shown)} |

Held-out replies (scenario and event patterns and words that training never saw):
{training["held_out_loss"]:.3f} nats per token, perplexity {training["held_out_perplexity"]:.2f}.

## What it does on `sev_test.jsonl`

{results_table(summary, seen, texts)}

Steering: layers {", ".join(map(str, steering["layers"]))}, strength {steering["alpha"]:g} of the
norm, directions at position `{steering["position"]}`, all chosen on `sev.jsonl`; perplexity of the
steered replies under the untouched model is {steered / plain:.2f} times that of unsteered ones.
"No emotion named" counts replies judged neutral. Perplexity is that of the replies after the
prompt that names no emotion. "Seen in training" counts whole replies that occur in the corpus.

Judge: {judge["name"]}, which shares no sentence pattern with the corpus; its held-out macro-F1 on
its own texts is {judge["reliability"]["macro_f1"]:.2f}.
"""


def main() -> None:
    """Measure, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, default=Path("target/demo-model-run"))
    folder = parser.parse_args().run
    summary = run(
        lambda: load_model(_MODEL),
        bundled("sev.jsonl"),
        bundled("sev_test.jsonl"),
        folder,
        RunSettings(grid_scenarios=20),
        TerminalTalk(quiet=False),
    )
    training = json.loads((_MODEL / "training.json").read_text(encoding="utf-8"))
    texts = read_texts(folder / "texts.jsonl")
    seen = share_seen(texts, training_replies(training["settings"]))
    text = card(summary, training, seen, texts)
    (_MODEL / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Train the demo model from the corpus of this folder and write `data/demo-model`.

    python tools/demo_model/train.py

The tokenizer (byte-level BPE, 4,096 entries) and the model (Llama architecture, 6 layers of
width 192 with 8 heads) are trained from nothing, in two phases. The first learns to talk about
what the user tells. The second learns to carry the emotion as a state: in most conversations the
system text is hidden from the user's and the reply's tokens, so that only the last token of the
prompt reads it, and a linear read-out of a middle block, at that token and along the reply, is
asked which emotion the reply has. Without the second phase the model ignores the emotion;
without hiding, it looks the named word up at each step and carries nothing.

The second phase begins from the rounded weights of the first, kept in `--work`, so that an
interrupted training goes on with the second phase.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus
from muon import Muon

_ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ("<pad>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
PAD, BOS, SYSTEM, USER, ASSISTANT, END = range(len(SPECIAL))
TEMPLATE = (
    "<s>{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Settings:
    """Size of the model, and what all phases share."""

    vocab: int = 4096
    width: int = 192
    layers: int = 6
    heads: int = 8
    mlp: int = 512
    batch: int = 64
    plain_share: float = 0.06
    hidden_share: float = 0.7
    user_loss: float = 0.2
    warmup: int = 60
    state_layer: int = 2
    seed: int = 11


@dataclass(frozen=True)
class Phase:
    """One pass over fresh conversations.

    `user_share` of them count the user's text in the loss; with `reads_state` the read-out of the
    emotion adds to it.
    """

    name: str
    seed: int
    conversations: int
    matrix_lr: float
    vector_lr: float
    user_share: float = 0.0
    reads_state: bool = False


PHASES = (
    Phase("talk", 11, 110_000, matrix_lr=0.02, vector_lr=3e-3, user_share=0.3),
    Phase("carry", 13, 60_000, matrix_lr=0.012, vector_lr=2e-3, user_share=0.05, reads_state=True),
)
EMOTIONS = ("neutral", "anger", "sadness", "happiness", "fear", "surprise", "disgust")


@dataclass(frozen=True)
class Example:
    """Token ids with the ranges of system text and reply, and what training does with them.

    `hidden`: only the last token of the prompt reads the system text. `user`: the user's text
    counts in the loss, beside the reply. A plain text has no system text and no prompt.
    """

    ids: list[int]
    system_end: int
    prompt_end: int
    emotion: int
    hidden: bool = False
    user: bool = False


def train_tokenizer(settings: Settings) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on part of the corpus; digits stand alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rows = corpus.generate(settings.seed, 40_000)
    texts = (row[part] for row in rows for part in ("system", "user", "reply"))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|end|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def encode(
    rows: Iterator[dict[str, Any]], tokenizer: Any, settings: Settings, phase: Phase
) -> list[Example]:
    """Tokenise conversations; a share of the replies stands alone as plain text."""
    draw = random.Random(phase.seed)
    rows_list = list(rows)
    parts = {
        name: tokenizer([row[name] for row in rows_list], add_special_tokens=False)["input_ids"]
        for name in ("system", "user", "reply")
    }
    examples = []
    emotions = [EMOTIONS.index(row["emotion"]) for row in rows_list]
    for system, user, reply, emotion in zip(*parts.values(), emotions, strict=True):
        if draw.random() < settings.plain_share:
            examples.append(Example([BOS, *reply, END], 0, 1, emotion))
            continue
        head = [BOS, SYSTEM, *system, END]
        prompt = [*head, USER, *user, END, ASSISTANT]
        hidden, user = (
            draw.random() < share for share in (settings.hidden_share, phase.user_share)
        )
        ids = [*prompt, *reply, END]
        examples.append(Example(ids, len(head), len(prompt), emotion, hidden, user))
    return examples


def batches(examples: list[Example], size: int, seed: int) -> list[list[Example]]:
    """Group examples of like length, then shuffle the groups."""
    draw = random.Random(seed)
    order = sorted(examples, key=lambda example: (len(example.ids), draw.random()))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    draw.shuffle(groups)
    return groups


def collate(group: list[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids [b, t], weights of the loss [b, t] and the attention mask [b, 1, t, t]."""
    longest = max(len(example.ids) for example in group)
    ids = torch.full((len(group), longest), PAD)
    weight = torch.zeros(len(group), longest)
    mask = torch.tril(torch.ones(longest, longest, dtype=torch.bool)).repeat(len(group), 1, 1)
    for row, example in enumerate(group):
        n_ids, n_system, n_prompt = len(example.ids), example.system_end, example.prompt_end
        ids[row, :n_ids] = torch.tensor(example.ids)
        if example.user:
            weight[row, n_system + 1 : n_prompt - 1] = -1
        weight[row, n_prompt:n_ids] = 1
        if example.hidden:
            mask[row, n_system : n_prompt - 1, 1:n_system] = False
            mask[row, n_prompt:, 1:n_system] = False
    return ids, weight, mask[:, None]


def loss_of(
    model: Any, group: list[Example], settings: Settings, read_out: torch.nn.Linear | None
) -> tuple[torch.Tensor, float, int]:
    """Loss of a batch, the replies' summed loss in nats, and their number of tokens."""
    ids, weight, mask = collate(group)
    bias = torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    outputs = model.model(
        input_ids=ids, attention_mask=bias, use_cache=False, output_hidden_states=bool(read_out)
    )
    hidden = outputs.last_hidden_state
    wanted = weight[:, 1:] != 0
    logits = model.lm_head(hidden[:, :-1][wanted])
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
    signs = weight[:, 1:][wanted]
    scale = torch.where(signs > 0, 1.0, settings.user_loss)
    loss = (losses * scale).sum() / scale.sum()
    if read_out is not None:
        states = outputs.hidden_states[settings.state_layer + 1]
        loss = loss + state_loss(read_out, states, group)
    reply = losses.detach()[signs > 0]
    return loss, float(reply.sum()), len(reply)


def state_loss(
    read_out: torch.nn.Linear, states: torch.Tensor, group: list[Example]
) -> torch.Tensor:
    """Cross-entropy of the emotion, read linearly at the last prompt token and along the reply."""
    rows, columns, first = [], [], []
    for row, example in enumerate(group):
        places = range(example.prompt_end - 1, len(example.ids) - 1)
        if example.system_end:
            rows += [row] * len(places)
            columns += places
            first += [place == places[0] for place in places]
    if not rows:  # plain texts only
        return torch.zeros(())
    wanted = torch.tensor([group[row].emotion for row in rows])
    given = read_out(torch.nn.functional.normalize(states[rows, columns], dim=-1))
    losses = torch.nn.functional.cross_entropy(given, wanted, reduction="none")
    at_prompt = torch.tensor(first)
    return 0.5 * losses[at_prompt].mean() + 0.5 * losses[~at_prompt].mean()


def held_out_loss(model: Any, tokenizer: Any, settings: Settings, n: int = 2000) -> float:
    """Mean loss of held-out replies in nats per token, nothing hidden."""
    rows = corpus.generate(settings.seed + 1, n, split="heldout")
    plain = replace(settings, plain_share=0.0, hidden_share=0.0)
    phase = Phase("held-out", settings.seed, n, matrix_lr=0.0, vector_lr=0.0)
    total, count = 0.0, 0
    with torch.inference_mode():
        for group in batches(encode(rows, tokenizer, plain, phase), 64, 0):
            _, nats, tokens = loss_of(model, group, plain, None)
            total, count = total + nats, count + tokens
    return total / count


def build_model(settings: Settings) -> LlamaForCausalLM:
    """Return the untrained model."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=settings.width,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
    )
    return LlamaForCausalLM(config)


def optimizers(model: Any, phase: Phase, read_out: Any) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embeddings, norms and read-out."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    others += [] if read_out is None else list(read_out.parameters())
    return [
        Muon(matrices, lr=phase.matrix_lr, weight_decay=0.01),
        torch.optim.AdamW(others, lr=phase.vector_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(model: Any, tokenizer: Any, settings: Settings, phase: Phase) -> list[dict[str, float]]:
    """Train `model` through one phase; returns the loss curve of the replies."""
    torch.manual_seed(phase.seed)
    read_out = None
    if phase.reads_state:
        read_out = torch.nn.Linear(settings.width, len(EMOTIONS))
        torch.nn.init.normal_(read_out.weight, std=1.0)
    rows = corpus.generate(phase.seed, phase.conversations)
    examples = encode(rows, tokenizer, settings, phase)
    plan = batches(examples, settings.batch, phase.seed)
    steps, curve = len(plan), []
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / settings.warmup, 1 - step / steps * 0.98),
        )
        for optimizer in optimizers(model, phase, read_out)
    ]
    began, seen, nats, tokens = time.perf_counter(), 0, 0.0, 0
    print(f"{phase.name}: {steps:,} steps")
    for step, group in enumerate(plan, 1):
        loss, batch_nats, batch_tokens = loss_of(model, group, settings, read_out)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for schedule in schedules:
            schedule.optimizer.step()
            schedule.optimizer.zero_grad()
            schedule.step()
        seen += sum(len(example.ids) for example in group)
        nats, tokens = nats + batch_nats, tokens + batch_tokens
        if step % 50 == 0 or step == steps:
            curve.append({"step": step, "tokens": seen, "loss": round(nats / tokens, 4)})
            rate = seen / (time.perf_counter() - began)
            print(
                f"step {step}/{steps} reply {nats / tokens:.3f} "
                f"all {loss.item():.3f} {rate:,.0f} tokens/s",
                flush=True,
            )
            nats, tokens = 0.0, 0
    return curve


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model in bf16 with its tokenizer and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.dtype = torch.bfloat16
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> Any:
    """Read rounded weights back, in float32."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def main() -> None:
    """Go through the phases, measure the held-out loss, and write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=_ROOT / "data" / "demo-model")
    parser.add_argument("--work", type=Path, default=_ROOT / "target" / "demo-model")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = Settings()
    tokenizer, model = train_tokenizer(settings), build_model(settings)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    curves = {}
    for phase in PHASES:
        folder = options.work / phase.name
        if not (folder / "curve.json").exists():
            curve = train(model, tokenizer, settings, phase)
            save(model, tokenizer, folder)
            (folder / "curve.json").write_text(json.dumps(curve), encoding="utf-8")
        model = load(folder)
        curves[phase.name] = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
    save(model, tokenizer, options.output)
    loss = held_out_loss(load(options.output), tokenizer, settings)
    record = {"settings": asdict(settings), "phases": [asdict(phase) for phase in PHASES]}
    record |= {"held_out_loss": round(loss, 4), "held_out_perplexity": round(math.exp(loss), 3)}
    record["loss_curves"] = curves
    text = json.dumps(record, indent=1) + "\n"
    (options.output / "training.json").write_text(text, encoding="utf-8")
    print(f"held-out replies: {loss:.3f} nats/token, perplexity {math.exp(loss):.2f}")


if __name__ == "__main__":
    main()

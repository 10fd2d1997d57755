"""Models that are missing, damaged, pickled or of an unknown family: exit code 4."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import Case, cases, change, cut, flip, folder, remove, without, write
from safetensors.numpy import load_file, save_file

WEIGHTS = "model/model.safetensors"
CONFIG = "model/config.json"
INDEX = "model/model.safetensors.index.json"
LOADERS = {
    "generate": "generate --model {} --data events.jsonl -o out",
    "capture": "capture --model {} --data events.jsonl -o out",
    "run": "run --model {} --data events.jsonl -o out",
}
READERS = {
    "capture": LOADERS["capture"],
    "score": "score store --directions directions.safetensors --model {} -o out",
}


class Bomb:
    """A pickle that leaves a file behind when somebody loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("exploded", "w")


def pickled(name: str) -> Callable[[], object]:
    """Damage: pickled weights under some name, and no others."""

    def damage() -> None:
        remove(WEIGHTS)
        Path("model", name).write_bytes(pickle.dumps(Bomb()))

    return damage


def weights(edit: Callable[[dict[str, Any]], object]) -> Callable[[], object]:
    """Damage: edited tensors."""

    def damage() -> None:
        tensors = load_file(WEIGHTS)
        edit(tensors)
        save_file(tensors, WEIGHTS, metadata={"format": "pt"})

    return damage


def index(files: object) -> Callable[[], object]:
    """Damage: an index of several weight files in the place of the one file."""
    return lambda: (remove(WEIGHTS), write(INDEX, {"weight_map": files})())


@pytest.mark.parametrize("verb", READERS)
@cases(
    ("no-folder", 4, "./none", "none", "model"),
    ("deep", 4, "a/b/c", "a/b/c", ""),
    ("file", 4, CONFIG, "config.json", "folder"),
    ("no-model", 4, "judge", "config.json", ""),
    ("no-config", 4, "model", "config.json", "", without(CONFIG)),
    ("folder-config", 4, "model", "config.json", "", folder(CONFIG)),
    ("config-text", 4, "model", "config.json", "", write(CONFIG, "{")),
    ("config-list", 4, "model", "config.json", "", write(CONFIG, "[]")),
    ("config-deep", 4, "model", "config.json", "", write(CONFIG, "[" * 100_000)),
    ("no-type", 4, "model", "model_type", "", change(CONFIG, "model_type", to=None)),
    ("type", 4, "model", "'lama'", "did you mean 'llama'?",
     change(CONFIG, "model_type", to="lama")),
    ("other-type", 4, "model", "'rwkv'", "known: ", change(CONFIG, "model_type", to="rwkv")),
    ("no-weights", 4, "model", "model.safetensors", "", without(WEIGHTS)),
    ("pickle", 4, "model", "pickled", "save_pretrained", pickled("pytorch_model.bin")),
    ("pickles", 4, "model", "pickled", "save_pretrained", pickled("pytorch_model-00001-of-2.bin")),
    ("pickle-pt", 4, "model", "pickled", "save_pretrained", pickled("model.pt")),
    ("pickle-inside", 4, "model", "", "", write(WEIGHTS, pickle.dumps(Bomb()))),
    ("empty", 4, "model", "", "", write(WEIGHTS, b"")),
    ("cut", 4, "model", "", "", cut(WEIGHTS)),
    ("header", 4, "model", "", "", cut(WEIGHTS, 0.001)),
    ("header-flip", 4, "model", "", "", flip(WEIGHTS, 0.0)),
    ("weights-folder", 4, "model", "model.safetensors", "", folder(WEIGHTS)),
    ("index-text", 4, "model", "index.json", "", lambda: (remove(WEIGHTS), write(INDEX, "{")())),
    ("index-lacks", 4, "model", "m-1.safetensors", "", index({"x": "m-1.safetensors"})),
    ("index-outside", 4, "model", "outside", "", index({"x": "../m-1.safetensors"})),
    ("index-empty", 4, "model", "", "", index({})),
)  # fmt: skip
def test_models_that_cannot_be_read(world: Path, verb: str, case: Case) -> None:
    command = READERS[verb].format(case.command)
    Case(case.name, case.code, command, case.says, case.hint, case.damage).check()
    assert not Path("exploded").exists()


@pytest.mark.parametrize("verb", LOADERS)
def test_every_verb_names_the_model(world: Path, verb: str) -> None:
    command = LOADERS[verb].format("./modle")
    Case(verb, 4, command, "there is no folder ./modle", "OWNER/NAME").check()
    Case(verb, 4, LOADERS[verb].format("judge"), "judge", "the folder").check()


FIRST = "model.layers.0.mlp.down_proj.weight"
CAPTURE = "capture --model model --data events.jsonl -o out"
SCORE = "score store --directions directions.safetensors --model model -o out"
TOKENIZER = "model/tokenizer.json"


@cases(
    ("quantised", 4, CAPTURE, "quantised", "unquantised",
     change(CONFIG, "quantization_config", to={"bits": 4})),
    ("lacks", 4, CAPTURE, "down_proj", "again", weights(lambda t: t.pop(FIRST))),
    ("shape", 4, CAPTURE, "", "", weights(lambda t: t.update({FIRST: t[FIRST][:, :8]}))),
    ("width", 4, CAPTURE, "", "", change(CONFIG, "hidden_size", to=64)),
    ("no-heads", 4, CAPTURE, "", "", change(CONFIG, "num_attention_heads", to=0)),
    ("heads", 4, CAPTURE, "", "", change(CONFIG, "num_attention_heads", to=5)),
    ("layers", 4, CAPTURE, "", "", change(CONFIG, "num_hidden_layers", to=4)),
    ("layers-text", 4, CAPTURE, "", "", change(CONFIG, "num_hidden_layers", to="many")),
    ("norm", 4, CAPTURE, "", "", change(CONFIG, "rms_norm_eps", to="x")),
    ("activation", 4, CAPTURE, "", "", change(CONFIG, "hidden_act", to="softly")),
    ("rope", 4, CAPTURE, "", "", change(CONFIG, "rope_parameters", to={"rope_type": "none"})),
    ("vocabulary", 4, CAPTURE, "", "", change(CONFIG, "vocab_size", to=7)),
    ("dtype", 4, CAPTURE, "", "", change(CONFIG, "dtype", to="float99")),
    ("family", 4, CAPTURE, "", "", change(CONFIG, "model_type", to="gpt2")),
    ("post-norm", 4, SCORE, "feedforward_layernorm", "", change(CONFIG, "model_type", to="gemma2")),
    ("no-tokenizer", 4, CAPTURE, "tokenizer", "",
     without(TOKENIZER, "model/tokenizer_config.json")),
    ("tokenizer-text", 4, CAPTURE, "tokenizer", "", write(TOKENIZER, "{")),
    ("tokenizer-empty", 4, CAPTURE, "tokenizer", "", write(TOKENIZER, b"")),
    ("tokenizer-other", 4, CAPTURE, "tokenizer", "", write(TOKENIZER, {"model": {"type": "x"}})),
    ("tokenizer-list", 4, CAPTURE, "tokenizer", "", write(TOKENIZER, [])),
    ("tokenizer-config", 4, CAPTURE, "tokenizer", "", write("model/tokenizer_config.json", "[")),
    ("template", 4, CAPTURE, "chat template", "",
     write("model/chat_template.jinja", "{% for %}")),
    ("template-fails", 4, CAPTURE, "chat template", "",
     write("model/chat_template.jinja", "{{ raise_exception('never') }}")),
    ("template-undefined", 4, CAPTURE, "chat template", "",
     write("model/chat_template.jinja", "{{ messages[7].content.deep }}")),
    ("end", 4, CAPTURE, "eos_token_id is [1, 'a']", "generation_config.json",
     change("model/generation_config.json", "eos_token_id", to=[1, "a"])),
    ("generation", 4, CAPTURE, "generation_config.json", "again",
     write("model/generation_config.json", "{")),
    ("classifier", 4, "judge run texts.jsonl --judge hf:model -o out", "no sequence classifier",
     "ForSequenceClassification"),
    ("no-classifier", 4, "judge run texts.jsonl --judge hf:./none -o out", "no folder ./none", ""),
)  # fmt: skip
def test_models_that_do_not_work(world: Path, case: Case) -> None:
    case.check()

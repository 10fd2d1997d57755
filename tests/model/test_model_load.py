"""Loading from a folder: what is read, what is refused, what is recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_models import CONTEXT, EOS

from emo import families
from emo.errors import ModelError, ResourceError, UsageError
from emo.model import generate, load_model
from emo.model.load import _dtype, pick_device


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """Copy of the tiny model's folder that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_config(folder: Path, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_loaded_model_is_the_saved_one(tiny_folder, tiny_llama, capfd) -> None:
    model = load_model(tiny_folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert model.dtype == torch.float32
    assert not model.module.training
    for name, tensor in tiny_llama.module.state_dict().items():
        assert torch.equal(model.module.state_dict()[name], tensor), name
    prompt = tuple(model.tokenizer("Hello")["input_ids"])
    assert generate(model, [prompt], max_new_tokens=5) == generate(
        tiny_llama, [prompt], max_new_tokens=5
    )


def test_a_model_of_texts_and_images_is_loaded_for_its_texts(tmp_path, tiny_model) -> None:
    made = tiny_model("gemma3", tokenizer=True)
    made.module.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    assert (model.family.name, model.context, model.n_layers) == ("gemma3", CONTEXT, 3)
    assert EOS in model.eos_ids
    assert generate(model, [(1, 2, 3)], max_new_tokens=5) == generate(
        made, [(1, 2, 3)], max_new_tokens=5
    )


@pytest.mark.parametrize("fits", [True, False])
def test_the_number_of_threads_is_set(folder, monkeypatch, fits) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    if fits:
        load_model(folder, device="cpu", threads=3)
        load_model(folder, device="cpu")
    else:
        change_config(folder, intermediate_size=64)
        with pytest.raises(ModelError):
            load_model(folder, device="cpu", threads=3)
    assert asked == [3]


def test_description(tiny_folder) -> None:
    described = load_model(str(tiny_folder), device="cpu").describe()
    weights = (tiny_folder / "model.safetensors").read_bytes()
    tokenizer_sha = described.pop("tokenizer_sha")
    assert len(tokenizer_sha) == 64
    assert described == {
        "name": str(tiny_folder),
        "folder": str(tiny_folder.resolve()),
        "revision": None,
        "weight_sha": hashlib.sha256(weights).hexdigest(),
        "family": "llama",
        "n_layers": 3,
        "d_model": 32,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_head": 8,
        "d_mlp": 48,
        "dtype": "float32",
        "attention": "sdpa",
    }


def test_sharded_checkpoint(tiny_llama, tiny_folder, tmp_path) -> None:
    tiny_llama.module.save_pretrained(tmp_path, max_shard_size="20KB")
    tiny_llama.tokenizer.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    model = load_model(tmp_path, device="cpu")
    joined = b"".join(shard.read_bytes() for shard in shards)
    assert model.weight_sha == hashlib.sha256(joined).hexdigest()
    shards[1].unlink()
    with pytest.raises(ModelError, match=f"lacks the weight file {shards[1].name}"):
        load_model(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_number_format(tiny_folder, dtype) -> None:
    assert load_model(tiny_folder, device="cpu", dtype=dtype).dtype == getattr(torch, dtype)


def test_automatic_number_format_follows_the_device() -> None:
    assert _dtype("auto", torch.device("cpu")) == torch.float32
    assert _dtype("auto", torch.device("cuda")) == "auto"
    assert _dtype("bf16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(UsageError, match="unknown number format 'float8'"):
        _dtype("float8", torch.device("cpu"))


def test_devices(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(UsageError, match="no usable"):
            pick_device(name)
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")


def test_pickled_weights_are_refused(folder) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not to be opened")
    with pytest.raises(ModelError, match=r"pickled weights \(pytorch_model.bin\)") as caught:
        load_model(folder)
    assert "save_pretrained" in str(caught.value.hint)


def test_pickled_weights_beside_safetensors_are_not_opened(folder) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not to be opened")
    load_model(folder, device="cpu")


def test_folder_without_weights_or_configuration(folder, tmp_path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors is missing \(it has consolidated"):
        load_model(folder)
    with pytest.raises(ModelError, match=r"config.json is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_configuration_that_cannot_be_read(folder, content) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config.json"):
        load_model(folder)


def test_names_that_are_no_folder(tmp_path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load_model(tmp_path / "absent")
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        load_model(file)


def test_unknown_architecture_and_its_code(folder, tmp_path) -> None:
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    change_config(folder, model_type="lama", auto_map={"AutoModelForCausalLM": "own.Own"})
    with pytest.raises(ModelError, match="type 'lama' are not supported") as caught:
        load_model(folder, trust_remote_code=True)
    assert caught.value.hint == "did you mean 'llama'?"
    assert not marker.exists()


def test_code_of_a_repository_runs_on_request_only(folder, tmp_path) -> None:
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    change_config(folder, auto_map={"AutoModelForCausalLM": "own.Own"})
    load_model(folder, device="cpu")
    assert not marker.exists()


def test_quantised_weights_are_refused(folder) -> None:
    change_config(folder, quantization_config={"quant_method": "gptq"})
    with pytest.raises(ModelError, match="is quantised"):
        load_model(folder)


def test_a_missing_weight_is_not_made_up(folder) -> None:
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights["model.layers.1.mlp.down_proj.weight"]
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1, first model.layers.1.mlp.down_proj.weight"):
        load_model(folder)


def test_weights_of_another_size_are_refused(folder) -> None:
    change_config(folder, intermediate_size=64)
    with pytest.raises(ModelError, match=r"cannot be loaded|is cut off"):
        load_model(folder)


def test_damaged_weights_are_refused(folder) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"cannot be loaded|is cut off"):
        load_model(folder)


def test_damaged_tokenizer_is_refused(folder) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="the tokenizer of"):
        load_model(folder)


def test_the_family_is_verified_at_load(folder, monkeypatch) -> None:
    import dataclasses

    wrong = dataclasses.replace(families.family_of("llama"), mid="input_layernorm")
    monkeypatch.setitem(families._BY_TYPE, "llama", wrong)
    with pytest.raises(ModelError, match=r"resid_pre \+ attn_out = resid_mid' does not hold in l"):
        load_model(folder)


def test_memory_that_does_not_suffice(tiny_folder, monkeypatch) -> None:
    def fail(_model):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("emo.model.load.verify_family", fail)
    with pytest.raises(ResourceError, match="does not fit into the memory of cpu"):
        load_model(tiny_folder, device="cpu")


def test_transformers_talks_again_after_loading(tiny_folder) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model(tiny_folder, device="cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before

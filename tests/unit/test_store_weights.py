import hashlib
import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from store_toys import Toy

from emo.errors import ModelError, UsageError
from emo.sites import Site
from emo.store import Checkpoint, weights_hash
from emo.store.weights import model_type

TOY = Toy()
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return TOY.write_checkpoint(tmp_path / "m")


def _weights(projection):
    return load_file(projection.path)[projection.tensor]


def test_projections_are_found_with_their_bias(folder):
    checkpoint = Checkpoint.open(folder)
    down = checkpoint.projection(Site(1, "mlp_act"))
    assert np.array_equal(_weights(down), TOY.w_down(1))
    assert (down.d_model, down.width, down.transposed) == (TOY.d_model, TOY.d_mlp, False)
    assert down.bias == (folder / SINGLE, "model.layers.1.mlp.down_proj.bias")
    out = checkpoint.projection(Site(0, "head_out"))
    assert np.array_equal(_weights(out), TOY.w_out(0))
    assert out.bias is None


def test_transposed_families(tmp_path):
    toy = Toy(transposed=True)
    checkpoint = Checkpoint.open(toy.write_checkpoint(tmp_path / "m"))
    down = checkpoint.projection(Site(1, "mlp_act"))
    assert down.transposed
    assert np.array_equal(_weights(down).T, toy.w_down(1))
    assert (down.d_model, down.width) == (toy.d_model, toy.d_mlp)


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model.", "model.language_model."])
def test_checkpoints_of_the_body_or_of_a_wrapper(folder, prefix):
    tensors = load_file(folder / SINGLE)
    save_file({prefix + k.removeprefix("model."): v for k, v in tensors.items()}, folder / SINGLE)
    name = Checkpoint.open(folder).projection(Site(0, "mlp_act")).tensor
    assert name == f"{prefix}layers.0.mlp.down_proj.weight"


def test_a_checkpoint_in_several_files(folder):
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2]}
    halves["model-00002-of-00002.safetensors"] = names[1::2]
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    table = {name: file for file, part in halves.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"weight_map": table}))
    checkpoint = Checkpoint.open(folder)
    for layer in range(2):
        for part, matrix in (("mlp_act", TOY.w_down), ("head_out", TOY.w_out)):
            assert np.array_equal(_weights(checkpoint.projection(Site(layer, part))), matrix(layer))
    both = b"".join((folder / file).read_bytes() for file in sorted(halves))
    assert weights_hash(folder) == hashlib.sha256(both).hexdigest()
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks the weight file model-00002"):
        Checkpoint.open(folder)


def test_the_hash_covers_the_weights(folder):
    before = weights_hash(folder)
    assert before == hashlib.sha256((folder / SINGLE).read_bytes()).hexdigest()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    assert weights_hash(folder) == before
    raw = bytearray((folder / SINGLE).read_bytes())
    raw[-1] ^= 1
    (folder / SINGLE).write_bytes(raw)
    assert weights_hash(folder) != before


def test_a_hash_is_remembered_until_a_file_changes(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache.json"
    path = folder / SINGLE
    first = weights_hash(folder, cache)
    assert not cache.exists(), "a file this young may still change"
    os.utime(path, (1e9, 1e9))
    assert weights_hash(folder, cache) == first
    with monkeypatch.context() as patch:
        patch.setattr("emo.store.weights._hash_contents", None)
        assert weights_hash(folder, cache) == first
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert weights_hash(folder, cache) != first
    cache.write_text("{")
    assert weights_hash(folder, cache) == hashlib.sha256(raw).hexdigest()


def test_what_cannot_be_used_is_a_model_error(folder, tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        Checkpoint.open(tmp_path / "none")
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(ModelError, match=r"layers\.7\.mlp"):
        checkpoint.projection(Site(7, "mlp_act"))
    with pytest.raises(UsageError, match="no output projection"):
        checkpoint.projection(Site(0, "resid_mid"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "config.json"),
        ("config.json", "{", "config.json"),
        ("config.json", "[]", "not a model configuration"),
        ("config.json", "{}", "model_type"),
        ("config.json", '{"model_type": "lama"}', "lama"),
        (SINGLE, "", "not a readable safetensors"),
        (SINGLE, "\x02\0\0\0\0\0\0\0[]", "not a readable safetensors"),
        (INDEX, "{}", "index"),
        (INDEX, '{"weight_map": {"a": "../x"}}', "outside"),
    ],
)
def test_damaged_folders(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        Checkpoint.open(folder)


def test_pickled_weights_are_refused_by_name(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has pickled weights \(pytorch_model\.bin\)"):
        Checkpoint.open(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        Checkpoint.open(folder)


def test_a_quantised_matrix_is_refused(folder):
    tensors = load_file(folder / SINGLE)
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name].astype(np.int8)
    save_file(tensors, folder / SINGLE)
    with pytest.raises(ModelError, match="float matrix"):
        Checkpoint.open(folder).projection(Site(0, "mlp_act"))


@pytest.mark.parametrize(
    "prefix", ["language_model.model", "model.language_model", "language_model"]
)
def test_weights_of_a_model_of_texts_and_images(tmp_path, prefix):
    text = {"model_type": "gemma3_text"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    name = f"{prefix}.layers.0.mlp.down_proj.weight"
    eye = "vision_tower.encoder.layers.0.mlp.down_proj.weight"
    save_file({eye: np.zeros((2, 3)), name: np.ones((4, 5), np.float32)}, tmp_path / SINGLE)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.family.name == "gemma3"
    assert checkpoint.projection(Site(0, "mlp_act")).tensor == name


def test_an_unknown_wrapper_has_the_family_of_its_text_part(tmp_path):
    config = {"model_type": "llava", "text_config": {"model_type": "mistral"}}
    assert model_type(config, tmp_path) == "mistral"
    assert model_type({"model_type": "lama", "text_config": None}, tmp_path) == "lama"

import json
import shutil

import pytest
from store_toys import Toy

from emo.errors import ArtifactError
from emo.store import Store, describe, verify
from emo.store.manifest import MANIFEST, PLAN, SAMPLES, SHARDS, ledger_file, shard_file

TOY = Toy(n_layers=1)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return TOY.write_store(tmp_path_factory.mktemp("sound") / "s", cuts=(5,))


@pytest.fixture
def store(sound, tmp_path):
    shutil.copytree(sound.path, tmp_path / "s")
    return Store.open(tmp_path / "s")


def test_a_sound_store_passes_and_reports_progress(store):
    seen = []
    verify(store, lambda done, total: seen.append((done, total)), threads=1)
    assert seen == [(1, 2), (2, 2)]


def test_a_flipped_bit_anywhere_is_found(store):
    """Header, row index and every tensor: one flipped bit each, names the shard."""
    path = store.path / shard_file(1)
    raw = path.read_bytes()
    for at in (3, 20, 4096, *range(4100, len(raw), 97), len(raw) - 1):
        damaged = bytearray(raw)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"00001\.safetensors"):
            verify(Store.open(store.path), threads=1)
    path.write_bytes(raw)
    verify(Store.open(store.path), threads=1)


def _edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (MANIFEST, lambda m: m["fields"].update(weights="other")),
        (MANIFEST, lambda m: m.update(fingerprint="0" * 64)),
        (MANIFEST, lambda m: m["sites"].update({"L0.mlp_act": 11})),
        (MANIFEST, lambda m: m["sites"].pop("L0.mlp_act")),
        (MANIFEST, lambda m: m.update(dtype="BF16")),
        (MANIFEST, lambda m: m["shards"][0].update(blake3="0" * 64)),
        (MANIFEST, lambda m: m["shards"].reverse()),
        (MANIFEST, lambda m: m["shards"].pop()),
        (MANIFEST, lambda m: m["shards"][1]["rows"].update(last=6)),
        (MANIFEST, lambda m: m["shards"][1]["chunks"].pop("L0.mlp_act@last")),
        (MANIFEST, lambda m: m["shards"][1]["chunks"].update({"L0.mlp_act@last": ["0" * 16]})),
        (ledger_file(0), lambda r: r.update(blake3="0" * 64)),
        (f"{SHARDS}/{PLAN}", lambda p: p["fields"].update(weights="other")),
    ],
)
def test_records_that_disagree_are_found(store, name, change):
    _edit(store.path / name, change)
    with pytest.raises(ArtifactError):
        verify(Store.open(store.path), threads=1)


def test_chunk_hashes_are_proved_even_when_all_records_agree(store):
    def forge(record):
        record["chunks"]["L0.mlp_act@last"] = ["0" * 16]

    _edit(store.path / MANIFEST, lambda m: forge(m["shards"][1]))
    _edit(store.path / ledger_file(1), forge)
    with pytest.raises(ArtifactError, match=r"00001\.safetensors"):
        verify(Store.open(store.path), threads=1)


@pytest.mark.parametrize("name", [SAMPLES, ledger_file(1), f"{SHARDS}/{PLAN}"])
def test_a_missing_file_is_found(store, name):
    (store.path / name).unlink()
    with pytest.raises(ArtifactError, match=name.rpartition("/")[2]):
        verify(Store.open(store.path), threads=1)


def test_a_description_counts_what_is_there(store):
    found = describe(store)
    assert found["emotions"] == {"anger": 4, "fear": 4, "happiness": 4}
    assert found["positions"] == {"last": 12}
    assert found["sites"]["mlp_act"] == {"width": TOY.d_mlp, "layers": [0]}
    assert found["shards"] == 2
    assert found["bytes"] == sum(p.stat().st_size for p in store.path.glob("*/*.safetensors"))
    assert json.loads(json.dumps(found)) == found

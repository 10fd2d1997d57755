import json

import numpy as np
import pytest
from store_toys import Toy

from emo import _core
from emo.errors import ArtifactError, UsageError
from emo.sites import Site
from emo.store import Store, StoreWriter
from emo.store.manifest import MANIFEST, SAMPLES, shard_file

TOY = Toy()


@pytest.fixture
def store(tmp_path):
    return TOY.write_store(tmp_path / "s", cuts=(5, 6))


def test_a_store_says_what_it_holds(store):
    assert store.sites[Site(0, "mlp_act")] == TOY.d_mlp
    assert len(store.sites) == 14
    assert store.positions == ("last",)
    assert store.n_rows("last") == 12
    assert store.width("L1.head_out") == TOY.n_heads * TOY.d_head
    assert store.model["d_head"] == TOY.d_head
    assert [len(store.chunk_hashes("L0.mlp_act", "last")), len(store.shards("L0.z", "last"))] == [
        3,
        3,
    ]


def test_every_range_of_rows_over_the_shards(store):
    values = TOY.acts()[Site(1, "resid_mid")]
    for start in range(13):
        for stop in range(start, 13):
            found = store.read("L1.resid_mid", "last", start, stop)
            assert np.array_equal(found, values[start:stop])
            assert found.dtype == np.float32
    for start, stop in ((-1, 3), (4, 3), (0, 13)):
        with pytest.raises(UsageError, match="there are 12"):
            store.read("L1.resid_mid", "last", start, stop)


def test_a_flipped_bit_is_found_by_reading(store):
    path = store.shards("L1.resid_mid", "last")[1]
    begin = next(row[3] for row in _core.inspect_shard(path) if row[0] == "L1.resid_mid@last")
    with open(path, "r+b") as file:
        file.seek(begin)
        byte = file.read(1)[0]
        file.seek(begin)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ArtifactError, match="damaged in chunk 0"):
        store.read("L1.resid_mid", "last")
    store.read("L1.resid_mid", "last", 0, 5)
    store.read("L1.mlp_act", "last")


def test_unknown_names_get_a_suggestion(store):
    with pytest.raises(UsageError, match=r"no site L7\.mlp_act") as caught:
        store.read("L7.mlp_act", "last")
    assert "mlp_act" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no position 'lsat'") as caught:
        store.rows("lsat")
    assert caught.value.hint == "did you mean 'last'?"


@pytest.mark.parametrize("make", ["nothing", "empty", "file", "other"])
def test_what_is_no_store(tmp_path, make):
    path = tmp_path / "s"
    if make == "file":
        path.write_text("x")
    elif make != "nothing":
        path.mkdir()
    if make == "other":
        (path / MANIFEST).write_text('{"kind": "scores"}')
    with pytest.raises(ArtifactError):
        Store.open(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "\x00", "null", '{"kind": "emo-store"}', "[" * 99_999, "9" * 9_999]
)
def test_a_damaged_manifest(store, text):
    (store.path / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match=MANIFEST):
        Store.open(store.path)


def test_an_unfinished_store_says_how_to_finish(tmp_path):
    with StoreWriter(tmp_path / "s", TOY.plan()):
        pass
    with pytest.raises(ArtifactError, match="not a finished store") as caught:
        Store.open(tmp_path / "s")
    assert "run the same capture command again" in str(caught.value.hint)


def test_a_truncated_or_missing_shard_is_found_at_opening(store):
    shard = store.path / shard_file(1)
    raw = shard.read_bytes()
    for damaged in (raw[:-1], raw + b"\0", b""):
        shard.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"00001\.safetensors has"):
            Store.open(store.path)
    shard.unlink()
    with pytest.raises(ArtifactError, match=r"00001\.safetensors is missing"):
        Store.open(store.path)


def test_changed_samples_are_refused(store):
    path = store.path / SAMPLES
    path.write_text(path.read_text().replace('"anger"', '"angst"'))
    with pytest.raises(ArtifactError, match="changed after the capture"):
        _ = Store.open(store.path).samples
    path.unlink()
    with pytest.raises(ArtifactError, match="lacks samples"):
        _ = Store.open(store.path).samples


def test_a_changed_row_index_is_refused(store):
    record = store.record.shards[1]
    path = store.path / record.file
    raw = bytearray(path.read_bytes())
    length = int.from_bytes(raw[:8], "little")
    begin = json.loads(raw[8 : 8 + length])["rows@last"]["data_offsets"][0]
    raw[8 + length + begin] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactError, match="rows@last differs"):
        Store.open(store.path).rows("last")


def test_a_store_moves_freely(store, tmp_path):
    values = store.read("L0.mlp_act", "last")
    store.path.rename(tmp_path / "elsewhere")
    assert np.array_equal(Store.open(tmp_path / "elsewhere").read("L0.mlp_act", "last"), values)

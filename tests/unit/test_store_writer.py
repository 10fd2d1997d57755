import contextlib
import json
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from store_toys import Toy, tree

from emo.errors import ArtifactError, NumericalError, ResourceError, SettingsError, UsageError
from emo.sites import Site
from emo.store import Store, StoreWriter, bytes_needed, folder_lock
from emo.store.encode import from_bf16, to_bf16
from emo.store.manifest import ledger_file, shard_file

TOY = Toy()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_what_was_written_is_read(tmp_path, dtype):
    store = TOY.write_store(tmp_path / "s", dtype=dtype, cuts=(1, 7))
    for site, values in TOY.acts().items():
        expected = {
            "F32": values,
            "F16": values.astype(np.float16).astype(np.float32),
            "BF16": from_bf16(to_bf16(values)),
        }[dtype]
        assert np.array_equal(store.read(site, "last"), expected)
        assert np.array_equal(store.read(str(site), "last", 3, 9), expected[3:9])
    assert store.samples == TOY.samples
    assert store.rows("last").tolist() == [[i, 4] for i in range(12)]


def test_two_writes_give_the_same_bytes(tmp_path):
    TOY.write_store(tmp_path / "a", cuts=(5,))
    TOY.write_store(tmp_path / "b", cuts=(5,))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_shards_are_plain_safetensors(tmp_path):
    from safetensors.numpy import load_file

    store = TOY.write_store(tmp_path / "s")
    tensors = load_file(store.path / "shards/00000.safetensors")
    assert np.array_equal(tensors["L1.mlp_act@last"], TOY.acts()[Site(1, "mlp_act")])
    assert tensors["rows@last"].dtype == np.int64


def _stop_after(folder, plan, n_shards):
    with contextlib.suppress(KeyboardInterrupt), StoreWriter(folder, plan) as writer:
        for index in writer.pending[:n_shards]:
            TOY.write_shard(writer, index)
        raise KeyboardInterrupt


def test_resume_skips_finished_shards_and_ends_with_the_same_bytes(tmp_path):
    plan = TOY.plan(cuts=(2, 4, 9))
    whole = TOY.write_store(tmp_path / "whole", cuts=(2, 4, 9))
    _stop_after(tmp_path / "s", plan, 2)
    with pytest.raises(ArtifactError, match="not a finished store") as caught:
        Store.open(tmp_path / "s")
    assert caught.value.hint == "run the same capture command again to finish it"
    before = (tmp_path / "s" / shard_file(1)).stat().st_mtime_ns
    with StoreWriter(tmp_path / "s", plan) as writer:
        assert writer.pending == [2, 3]
        for index in list(writer.pending):
            TOY.write_shard(writer, index)
        writer.finish()
    assert (tmp_path / "s" / shard_file(1)).stat().st_mtime_ns == before
    assert tree(tmp_path / "s") == tree(whole.path)


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    plan = TOY.plan(cuts=(2, 4))
    _stop_after(tmp_path / "s", plan, 1)
    shards = tmp_path / "s" / "shards"
    (shards / ".00001.safetensors.partial").write_bytes(b"half")
    (shards / "00001.safetensors").write_bytes(b"published, but not in the ledger")
    (tmp_path / "s" / ".emo-store.json.x1").write_bytes(b"half")
    with StoreWriter(tmp_path / "s", plan) as writer:
        assert writer.pending == [1, 2]
        assert sorted(p.name for p in shards.iterdir()) == [
            "00000.json",
            "00000.safetensors",
            "plan.json",
        ]
        for index in list(writer.pending):
            TOY.write_shard(writer, index)
        writer.finish()
    whole = TOY.write_store(tmp_path / "whole", cuts=(2, 4))
    assert tree(tmp_path / "s") == tree(whole.path)


@pytest.mark.parametrize("damage", ["gone", "short", "no-ledger"])
def test_a_finished_store_mends_a_lost_shard(tmp_path, damage):
    store = TOY.write_store(tmp_path / "s", cuts=(5,))
    before = tree(store.path)
    shard = store.path / shard_file(1)
    if damage == "gone":
        shard.unlink()
    elif damage == "short":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        (store.path / ledger_file(1)).unlink()
    with StoreWriter(store.path, TOY.plan(cuts=(5,))) as writer:
        assert writer.pending == [1]
        TOY.write_shard(writer, 1)
        writer.finish()
    assert tree(store.path) == before


def test_a_finished_store_has_nothing_to_do(tmp_path):
    store = TOY.write_store(tmp_path / "s", cuts=(5,))
    before = tree(store.path)
    with StoreWriter(store.path, TOY.plan(cuts=(5,))) as writer:
        assert writer.pending == []
        writer.finish()
    assert tree(store.path) == before


def test_another_fingerprint_is_refused_field_by_field(tmp_path):
    _stop_after(tmp_path / "s", TOY.plan(cuts=(5,)), 1)
    before = tree(tmp_path / "s")
    other = TOY.plan(cuts=(5,), dtype="BF16", fields={"weights": "xyz", "prompts": "def"})
    with pytest.raises(SettingsError) as caught, StoreWriter(tmp_path / "s", other):
        pass
    assert 'weights was "none", now "xyz"' in str(caught.value)
    assert 'dtype was "F32", now "BF16"' in str(caught.value)
    assert "prompts" not in str(caught.value)
    assert tree(tmp_path / "s") == before


def test_other_samples_or_another_split_are_refused(tmp_path):
    TOY.write_store(tmp_path / "s", cuts=(5,))
    for other, name in (
        (Toy(n_groups=5).plan(cuts=(5,)), "samples"),
        (TOY.plan(cuts=(6,)), "shards"),
        (TOY.plan(cuts=(5,), parts=("mlp_act",)), "sites"),
    ):
        with pytest.raises(SettingsError, match=name), StoreWriter(tmp_path / "s", other):
            pass


def test_another_model_folder_is_no_other_setting(tmp_path):
    TOY.write_store(tmp_path / "s", checkpoint=TOY.write_checkpoint(tmp_path / "m"))
    moved = TOY.write_checkpoint(tmp_path / "moved")
    with StoreWriter(tmp_path / "s", TOY.plan(checkpoint=moved)) as writer:
        assert not writer.pending
        assert writer.finish().model["folder"] == str(moved)


@pytest.mark.parametrize("name", ["notes.txt", "shards/00000.safetensors"])
def test_a_foreign_folder_is_left_alone(tmp_path, name):
    path = tmp_path / "s" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(ArtifactError, match=path.name), StoreWriter(tmp_path / "s", TOY.plan()):
        pass
    assert path.read_text() == "mine"


def test_files_of_others_among_the_shards_are_kept(tmp_path):
    store = TOY.write_store(tmp_path / "s")
    (store.path / "shards" / "notes.txt").write_text("mine")
    with StoreWriter(store.path, TOY.plan()) as writer:
        assert not writer.pending
    assert (store.path / "shards" / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ArtifactError, match="is a file"), StoreWriter(tmp_path / "s", TOY.plan()):
        pass


def test_a_second_writer_is_kept_out(tmp_path):
    script = (
        "import sys; from pathlib import Path; from emo.store import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])):\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    folder = tmp_path / "s"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ResourceError, match="another process"), StoreWriter(folder, TOY.plan()):
            pass
        other.kill()
        other.wait()
        with StoreWriter(folder, TOY.plan()) as writer:
            assert writer.pending == [0]


def test_the_lock_leaves_no_file(tmp_path):
    with folder_lock(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]
        with pytest.raises(ResourceError), folder_lock(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = bytes_needed(TOY.plan())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, needed - 1))
    with pytest.raises(ResourceError, match="free"), StoreWriter(tmp_path / "s", TOY.plan()):
        pass
    assert tree(tmp_path / "s") == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, needed))
    with StoreWriter(tmp_path / "s", TOY.plan()):
        pass


def test_the_estimate_covers_the_files(tmp_path):
    for dtype in ("BF16", "F32"):
        store = TOY.write_store(tmp_path / dtype, dtype=dtype, cuts=(3, 6))
        written = sum(p.stat().st_size for p in store.path.glob("shards/*.safetensors"))
        needed = bytes_needed(TOY.plan(dtype=dtype, cuts=(3, 6)))
        assert written <= needed <= written + 3 * 8192


def test_writing_needs_arrays_that_fit_the_plan(tmp_path):
    plan = TOY.plan(parts=("mlp_act",))
    rows = np.stack([np.arange(12), np.zeros(12, np.int64)], axis=1)
    good = {f"L{i}.mlp_act@last": np.ones((12, 10), np.float32) for i in range(2)}
    bad_rows = rows.copy()
    bad_rows[3, 0] = 12
    nan = np.full((12, 10), np.nan, np.float32)
    with StoreWriter(tmp_path / "s", plan) as writer:
        for tensors, index, error, message in (
            ({"L0.mlp_act@last": good["L0.mlp_act@last"]}, rows, UsageError, "L1.mlp_act@last"),
            ({**good, "L9.mlp_act@last": nan}, rows, UsageError, "L9.mlp_act@last"),
            ({**good, "L1.mlp_act@last": nan[:, :9]}, rows, UsageError, r"\(12, 9\)"),
            (good, rows[:3], UsageError, "rows@last"),
            (good, bad_rows, UsageError, "does not exist"),
            ({**good, "L1.mlp_act@last": nan}, rows, NumericalError, "L1.mlp_act@last"),
        ):
            with pytest.raises(error, match=message):
                writer.write(0, tensors, {"last": index})
        with pytest.raises(UsageError, match="not pending"):
            writer.write(1, good, {"last": rows})
        with pytest.raises(UsageError, match="not written yet"):
            writer.finish()
        assert writer.pending == [0]
    assert [p.name for p in (tmp_path / "s" / "shards").iterdir()] == ["plan.json"]


def test_a_position_without_rows_in_a_shard_has_no_tensors_there(tmp_path):
    plan = TOY.plan(parts=("mlp_act",))
    shards = [{"last": 4, "span": 0}, {"last": 8, "span": 2}]
    plan = type(plan)(**{**vars(plan), "positions": ("last", "span"), "shards": shards})
    with StoreWriter(tmp_path / "s", plan) as writer:
        for index, (n_last, n_span) in enumerate([(4, 0), (8, 2)]):
            counts = {"last": n_last, **({"span": n_span} if n_span else {})}
            writer.write(
                index,
                {
                    f"L{i}.mlp_act@{p}": np.full((n, 10), i + index, np.float32)
                    for i in range(2)
                    for p, n in counts.items()
                },
                {p: np.stack([np.arange(n), np.full(n, -1)], axis=1) for p, n in counts.items()},
            )
        store = writer.finish()
    assert [p.rpartition("/")[2] for p in store.shards("L0.mlp_act", "span")] == [
        "00001.safetensors"
    ]
    assert store.n_rows("span") == 2
    assert store.read("L1.mlp_act", "span").tolist() == [[2.0] * 10] * 2
    assert len(store.chunk_hashes("L0.mlp_act", "last")) == 2


def test_a_damaged_plan_is_refused(tmp_path):
    _stop_after(tmp_path / "s", TOY.plan(), 0)
    path = tmp_path / "s" / "shards" / "plan.json"
    value = json.loads(path.read_text())
    value["fields"]["weights"] = "forged"
    path.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match="damaged"), StoreWriter(tmp_path / "s", TOY.plan()):
        pass

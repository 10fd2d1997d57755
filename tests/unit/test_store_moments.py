import numpy as np
import pytest
from store_toys import Toy

from emo import _core
from emo.errors import ArtifactError, ResourceError
from emo.sites import Site
from emo.store import Moments, Store, cached_moments
from emo.store.manifest import STATS, shard_file

TOY = Toy()
SITE = Site(1, "mlp_act")
LABELS = np.array([0, 1, -1] * 4, np.int32)
NAMES = ("count", "mean", "m2", "positive", "negative")


@pytest.fixture
def store(tmp_path):
    return TOY.write_store(tmp_path / "s", cuts=(5,))


def _count_passes(monkeypatch):
    calls = []
    real = _core.moments

    def counted(*args, **options):
        calls.append(args[1])
        return real(*args, **options)

    monkeypatch.setattr(_core, "moments", counted)
    return calls


def _same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in NAMES)


def test_moments_match_numpy(store):
    found = cached_moments(store, SITE, "last", LABELS, 4, threads=1)
    values = TOY.acts()[SITE].astype(np.float64)
    for label in range(4):
        rows = values[label == LABELS]
        assert found.count[label] == len(rows)
        mean = rows.mean(0) if len(rows) else np.zeros(10)
        np.testing.assert_allclose(found.mean[label], mean, atol=1e-6)
        np.testing.assert_allclose(found.m2[label], ((rows - mean) ** 2).sum(0), rtol=1e-5)
        assert np.array_equal(found.positive[label], (rows > 0).sum(0))
        assert np.array_equal(found.negative[label], (rows < 0).sum(0))


def test_a_second_call_does_not_read_the_store(store, monkeypatch):
    calls = _count_passes(monkeypatch)
    first = cached_moments(store, SITE, "last", LABELS, 3)
    second = cached_moments(store, SITE, "last", LABELS, 3)
    assert len(calls) == 1
    assert _same(first, second)
    assert second.count.dtype == np.int64
    assert second.mean.shape == (3, 10)


def test_the_cache_answers_where_the_shards_are_lost(store):
    first = cached_moments(store, SITE, "last", LABELS, 3)
    for path in (store.path / "shards").glob("*.safetensors"):
        path.write_bytes(bytes(path.stat().st_size))
    lost = Store.open(store.path)
    assert _same(first, cached_moments(lost, SITE, "last", LABELS, 3))
    with pytest.raises(ArtifactError):
        cached_moments(lost, SITE, "last", LABELS[::-1].copy(), 3)


def test_other_labels_sites_or_bytes_are_other_entries(store, tmp_path, monkeypatch):
    calls = _count_passes(monkeypatch)
    cached_moments(store, SITE, "last", LABELS, 3)
    cached_moments(store, SITE, "last", LABELS[::-1].copy(), 3)
    cached_moments(store, SITE, "last", LABELS, 4)
    cached_moments(store, Site(0, "mlp_act"), "last", LABELS, 3)
    assert len(calls) == 4
    other = Toy(seed=1).write_store(tmp_path / "other", cuts=(5,))
    (store.path / STATS).rename(other.path / STATS)
    cached_moments(other, SITE, "last", LABELS, 3)
    assert len(calls) == 5


def test_a_damaged_entry_is_computed_again(store, monkeypatch):
    first = cached_moments(store, SITE, "last", LABELS, 3)
    calls = _count_passes(monkeypatch)
    (path,) = (store.path / STATS).iterdir()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    for damaged in (bytes(raw), b"", b"x" * 100):
        path.write_bytes(damaged)
        assert _same(first, cached_moments(store, SITE, "last", LABELS, 3))
    assert len(calls) == 3


def test_a_full_disk_costs_the_cache_only(store, monkeypatch):
    def full(*_):
        raise ResourceError("no space")

    monkeypatch.setattr("emo.store.moments.write_artifact", full)
    assert cached_moments(store, SITE, "last", LABELS, 3).count.tolist() == [4, 4, 0]


def test_a_flipped_bit_stops_the_pass(store):
    path = store.path / shard_file(1)
    raw = bytearray(path.read_bytes())
    for name, _, _, begin, _ in _core.inspect_shard(str(path)):
        if name == f"{SITE}@last":
            raw[begin + 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactError, match=r"00001\.safetensors"):
        cached_moments(Store.open(store.path), SITE, "last", LABELS, 3)


def test_pooling_labels_is_counting_them_as_one():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 7)) + 3
    labels = rng.integers(0, 5, 50)
    labels[labels == 3] = 4

    def moments(groups):
        rows = [values[np.isin(labels, group)] for group in groups]
        return Moments(
            np.array([len(x) for x in rows]),
            np.stack([x.mean(0) if len(x) else np.zeros(7) for x in rows]),
            np.stack([((x - x.mean(0)) ** 2).sum(0) if len(x) else np.zeros(7) for x in rows]),
            np.stack([(x > 3).sum(0) for x in rows]),
            np.stack([(x < 3).sum(0) for x in rows]),
        )

    groups = [[0, 2], [4, 3], [1], [3]]
    pooled = moments([[i] for i in range(5)]).merged(groups)
    expected = moments(groups)
    for name in NAMES:
        np.testing.assert_allclose(getattr(pooled, name), getattr(expected, name), rtol=1e-12)

"""Probes on planted and on meaningless labels; components and the heat map by hand."""

import json

import numpy as np
import pytest
from store_toys import EMOTIONS, Toy

from emo.analysis.directions import directions as compute
from emo.errors import NumericalError
from emo.experiments import probes as room
from emo.geometry.pca import pca

pytest.importorskip("sklearn")
pytest.importorskip("torch")


def rows(n_groups, classes=("a", "b", "c")):
    labels = np.tile(np.arange(len(classes)), n_groups)
    groups = np.repeat(np.arange(n_groups), len(classes))
    return room.ProbeRows(np.arange(len(labels)), labels, groups, tuple(classes))


def acts(chosen, strength, seed=0, width=12):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((len(chosen.labels), width))
    noise[np.arange(len(chosen.labels)), chosen.labels] += strength
    return (100 + 3 * noise).astype(np.float32)


def test_a_planted_class_is_read_and_shuffled_labels_are_not():
    chosen = rows(40)
    found = room.probe(acts(chosen, 6), chosen)
    assert found["f1"] > 0.95
    assert found["low"] <= found["f1"] <= found["high"] <= 1
    assert abs(found["shuffled"] - 1 / 3) < 0.15


def test_noise_is_at_chance_and_the_interval_covers_it():
    chosen = rows(60)
    found = room.probe(acts(chosen, 0), chosen)
    assert found["low"] < 1 / 3 < found["high"]
    assert found["high"] - found["low"] < 0.3


def test_neither_scale_nor_shift_matters_and_the_seed_decides():
    chosen = rows(20)
    plain = acts(chosen, 1.5)
    assert room.probe(plain * 1000 - 7, chosen, 3) == pytest.approx(room.probe(plain, chosen, 3))
    assert room.probe(plain, chosen, 3) == room.probe(plain, chosen, 3)


def test_no_group_is_on_both_sides_of_a_split():
    chosen = rows(23)
    tested = []
    for train, test in room._folds(chosen, 1):
        assert not set(chosen.groups[train]) & set(chosen.groups[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(len(chosen.labels)))


def test_a_label_that_belongs_to_the_group_alone_cannot_be_cheated():
    """Rows carry their group's name exactly; without grouping a probe would read the label."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    labels = rng.integers(0, 2, 40)[groups]
    chosen = room.ProbeRows(np.arange(200), labels, groups, ("a", "b"))
    names = np.eye(40, dtype=np.float32)[groups]
    assert room.probe(names, chosen)["f1"] < 0.7


def test_macro_f1_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    truth, given = rng.integers(0, 4, 90), rng.integers(0, 4, 90)
    tables = np.zeros((90, 4, 4))
    tables[np.arange(90), truth, given] = 1
    wanted = metrics.f1_score(truth, given, average="macro")
    assert room._macro_f1(tables) == pytest.approx(wanted)


def test_geometry_of_a_store(tmp_path):
    toy = Toy(n_groups=9, planted={name: [e] for e, name in enumerate(EMOTIONS)})
    store = toy.write_store(tmp_path / "store")
    found = room.geometry(store, compute(store), seed=1)
    assert [row["layer"] for row in found["layers"]] == [0, 1]
    for row in found["layers"]:
        assert set(row["probe"]) == {"f1", "low", "high", "shuffled"}
        assert len(row["pca"]["points"]) == len(row["pca"]["labels"]) == 27
        assert set(row["pca"]["labels"]) == set(EMOTIONS)
        assert 0 < sum(row["pca"]["explained"]) <= 1
    acts = store.read("L0.resid_post", "last")
    assert found["layers"][0]["pca"]["null"] == pytest.approx(pca(acts, 2).null, abs=1e-4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == room.geometry(store, compute(store), seed=1)


def test_components_are_distances_in_the_first_two_axes():
    chosen = rows(30)
    points = np.zeros((90, 5), np.float32)
    points[:, 1] = np.linspace(-9, 9, 90)
    points[:, 3] = np.cos(np.arange(90))
    found = room._components(points + 4, chosen, 0)
    given = np.array(found["points"])
    wanted = points[:, [1, 3]] - points[:, [1, 3]].mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(given[0] - given[60]), np.linalg.norm(wanted[0] - wanted[60]), rtol=1e-3
    )
    assert sum(found["explained"]) == pytest.approx(1, abs=1e-3)


def test_the_heat_map_is_the_mean_cosine_of_like_emotions(tmp_path):
    found = compute(Toy().write_store(tmp_path / "store"))
    heat = room.cosine_map(found)
    assert heat["sublayers"] == ["L0.resid_mid", "L0.resid_post", "L1.resid_mid", "L1.resid_post"]
    matrix = np.array(heat["matrix"])
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-4)
    np.testing.assert_allclose(matrix, matrix.T)
    sites = {str(site): vectors for site, vectors in found.unit.items()}
    first, last = sites["L0.resid_mid"], sites["L1.resid_post"]
    wanted = np.mean([a @ b for a, b in zip(first, last, strict=True)])
    assert matrix[0, 3] == pytest.approx(wanted, abs=1e-4)


def test_only_accepted_rows_count_and_too_few_are_refused(tmp_path):
    toy = Toy(n_groups=8)
    store = toy.write_store(tmp_path / "store")
    some = [row["id"] for row in toy.samples if row["emotion"] != "fear"]
    chosen = room.probe_rows(store, "last", some)
    assert chosen.classes == ("anger", "happiness")
    assert len(chosen.rows) == 16
    with pytest.raises(NumericalError, match="there are 1 and 8"):
        room.probe_rows(store, "last", [i for i in some if i.endswith("anger")])
    with pytest.raises(NumericalError, match="there are 2 and 2"):
        room.probe_rows(store, "last", [i for i in some if i[:2] in ("g0", "g1")])


def test_many_rows_are_cut_to_whole_groups(tmp_path, monkeypatch):
    store = Toy(n_groups=12).write_store(tmp_path / "store")
    monkeypatch.setattr(room, "MAX_ROWS", 20)
    chosen = room.probe_rows(store, "last", seed=4)
    assert len(chosen.rows) == 18
    assert np.bincount(chosen.groups)[np.unique(chosen.groups)].tolist() == [3] * 6
    other = room.probe_rows(store, "last", seed=5)
    assert other.rows.tolist() != chosen.rows.tolist()

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from reference import write_store
from safetensors.numpy import load_file, save_file
from store_toys import EMOTIONS, Toy

from emo import _core
from emo.analysis.directions import directions
from emo.analysis.score import open_checkpoint, rank_units, score
from emo.analysis.scores import COLUMNS, Scores
from emo.errors import ArtifactError, ModelError, NumericalError, SettingsError, UsageError
from emo.sites import Site
from emo.store import Checkpoint, Store

TOY = Toy(n_groups=6)


@pytest.fixture(scope="module", params=[False, True], ids=["linear", "conv1d"])
def made(request, tmp_path_factory):
    """A store with two lost samples, its directions and its scores."""
    folder = tmp_path_factory.mktemp("made")
    toy = replace(TOY, transposed=request.param)
    store = toy.write_store(
        folder / "s", cuts=(4, 11), checkpoint=toy.write_checkpoint(folder / "m")
    )
    kept = {row["id"] for row in toy.samples} - {"g1/fear", "g4/anger"}
    found = directions(store, kept, threads=1)
    return toy, store, found, score(store, found, threads=1)


def _rows(toy, label, lost=("g1/fear", "g4/anger")):
    return [i for i, r in enumerate(toy.samples) if r["emotion"] == label and r["id"] not in lost]


def test_neurons_match_the_definition(made):
    toy, _, found, scores = made
    table = scores.units["neuron"]
    assert table.layers == (0, 1)
    for e, label in enumerate(EMOTIONS):
        for layer in range(2):
            g = toy.acts()[Site(layer, "mlp_act")][_rows(toy, label)].astype(np.float64)
            v = found.unit[Site(layer, "resid_post")][e].astype(np.float64)
            _check(table, e, layer, g * (toy.w_down(layer).astype(np.float64).T @ v))


def test_heads_match_the_definition(made):
    toy, _, found, scores = made
    table = scores.units["head"]
    for e, label in enumerate(EMOTIONS):
        for layer in range(2):
            z = toy.acts()[Site(layer, "head_out")][_rows(toy, label)].astype(np.float64)
            v = found.unit[Site(layer, "resid_mid")][e].astype(np.float64)
            c = z * (toy.w_out(layer).astype(np.float64).T @ v)
            _check(table, e, layer, c.reshape(len(c), toy.n_heads, toy.d_head).sum(-1))


def _check(table, e, layer, c):
    n = len(c)
    assert table.n[e] == n
    np.testing.assert_allclose(table.mean[e, layer], c.mean(0), atol=1e-6)
    np.testing.assert_allclose(table.sd[e, layer], c.std(0, ddof=1), rtol=1e-4)
    quantile = {5: 2.7764451052, 6: 2.5705818356}[n]
    half = quantile * c.std(0, ddof=1) / np.sqrt(n)
    np.testing.assert_allclose(table.high[e, layer] - c.mean(0), half, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(c.mean(0) - table.low[e, layer], half, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table.positive[e, layer], (c > 0).mean(0), atol=1e-12)
    assert np.array_equal(np.argsort(table.rank[e, layer]), np.argsort(-table.mean[e, layer]))


def test_top_orders_units_over_layers(made):
    *_, scores = made
    found = scores.top(7, "neuron", "fear")
    means = scores.units["neuron"].mean[1]
    assert [u.mean for u in found] == sorted(means.ravel().tolist(), reverse=True)[:7]
    for u in found:
        assert means[u.layer, u.unit] == u.mean
        assert u.rank == scores.units["neuron"].rank[1, u.layer, u.unit]
    assert len(scores.top(10**6, "head", "fear")) == 2 * TOY.n_heads
    for kind, emotion in (("neurons", "fear"), ("head", "feer")):
        with pytest.raises(UsageError) as caught:
            scores.top(1, kind, emotion)
        assert "did you mean" in str(caught.value.hint)


def test_files_hold_the_same_numbers(made, tmp_path):
    *_, scores = made
    written = scores.save(tmp_path / "x.scores.safetensors")
    names = ["x.scores.safetensors", "x.scores.csv", "x.scores.parquet"]
    assert [p.name for p in written] == names[: len(written)]
    again = Scores.load(written[0])
    assert again.labels == scores.labels
    assert again.provenance == scores.provenance
    for kind, table in scores.units.items():
        for name, value in vars(table).items():
            assert np.array_equal(value, getattr(again.units[kind], name))
    with open(written[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 2 * (TOY.d_mlp + TOY.n_heads)
    for row in rows:
        at = EMOTIONS.index(row["emotion"]), int(row["layer"]), int(row["unit"])
        table = scores.units[row["kind"]]
        for name in ("mean", "sd", "low", "high", "positive", "rank"):
            assert float(row[name]) == pytest.approx(getattr(table, name)[at], rel=1e-8)
        assert int(row["n"]) == table.n[at[0]]


def test_parquet_holds_the_same_table(made, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    *_, scores = made
    path = scores.save(tmp_path / "x.safetensors")[2]
    table = parquet.read_table(path).to_pydict()
    assert tuple(table) == COLUMNS
    neurons = scores.units["neuron"]
    assert table["mean"][: neurons.mean.size] == neurons.mean.ravel().tolist()
    assert table["emotion"][: neurons.mean.size : 2 * TOY.d_mlp] == list(EMOTIONS)


def test_names_with_commas_survive_the_csv(made, tmp_path):
    *_, scores = made
    odd = replace(scores, labels=('a,"b"', "fear", "happiness"))
    with open(odd.save(tmp_path / "x.safetensors")[1], newline="") as file:
        assert next(csv.DictReader(file))["emotion"] == 'a,"b"'


def test_a_table_is_no_name_for_the_scores(made, tmp_path):
    *_, scores = made
    with pytest.raises(UsageError, match="named like a table"):
        scores.save(tmp_path / "x.csv")
    (tmp_path / "y").write_bytes(b"junk")
    with pytest.raises(ArtifactError):
        Scores.load(tmp_path / "y")


def test_ties_rank_in_the_order_of_units():
    assert rank_units(np.array([[0.0, 1.0, 0.0], [2.0, 2.0, 2.0]])).tolist() == [
        [2, 1, 3],
        [1, 2, 3],
    ]


def test_planted_units_come_first_and_only_they(tmp_path):
    toy = Toy(
        n_groups=12,
        d_model=8,
        d_mlp=40,
        n_heads=6,
        planted={"anger": [3, 17], "fear": [8, 39], "happiness": [0, 21]},
        planted_heads={"anger": 5, "fear": 0, "happiness": 2},
    )
    store = toy.write_store(tmp_path / "s", checkpoint=toy.write_checkpoint(tmp_path / "m"))
    scores = score(store, directions(store, threads=1), threads=1)
    for e, label in enumerate(EMOTIONS):
        for layer in range(2):
            for kind, planted in (
                ("neuron", toy.planted[label]),
                ("head", [toy.planted_heads[label]]),
            ):
                table = scores.units[kind]
                mean, low = table.mean[e, layer], table.low[e, layer]
                first = np.argsort(table.rank[e, layer])[: len(planted)]
                assert sorted(first.tolist()) == planted
                others = np.delete(mean, planted)
                assert (low[planted] > 4 * np.abs(others).max()).all()


def test_rescoring_reads_no_neuron_again(made, monkeypatch):
    _, store, found, scores = made
    monkeypatch.setattr(_core, "moments", None)
    again = score(store, found)
    assert np.array_equal(again.units["neuron"].mean, scores.units["neuron"].mean)


def test_directions_of_another_store_score_all_rows(made, tmp_path):
    toy, store, found, _ = made
    other = replace(toy, n_groups=9).write_store(
        tmp_path / "other", checkpoint=open_checkpoint(store).folder
    )
    assert score(other, found).units["head"].n.tolist() == [9, 9, 9]
    some = {row["id"] for row in other.samples[:9]}
    assert score(other, found, accepted=some).units["head"].n.tolist() == [3, 3, 3]


def test_too_few_samples_of_an_emotion(made):
    _, store, found, _ = made
    few = {"g0/anger", "g0/fear", "g1/anger", "g0/happiness", "g1/happiness"}
    with pytest.raises(NumericalError, match="fear has 1 accepted rows"):
        score(store, found, accepted=few)


def test_other_weights_are_refused(made, tmp_path):
    toy, store, found, _ = made
    other = replace(toy, seed=5).write_checkpoint(tmp_path / "m")
    with pytest.raises(SettingsError, match="other weights than those captured") as caught:
        score(store, found, Checkpoint.open(other))
    assert "--model" in str(caught.value.hint)
    model = {**found.provenance["model"], "weight_sha": "f" * 64}
    foreign = replace(found, provenance={**found.provenance, "model": model})
    with pytest.raises(SettingsError, match="directions come from another model"):
        score(store, foreign)


def test_a_folder_that_moved_is_named_with_the_way_out(tmp_path):
    toy = Toy()
    store = toy.write_store(tmp_path / "s", checkpoint=toy.write_checkpoint(tmp_path / "m"))
    (tmp_path / "m").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match="does not exist") as caught:
        open_checkpoint(store)
    assert "--model" in str(caught.value.hint)
    assert open_checkpoint(store, tmp_path / "moved").folder == tmp_path / "moved"
    with pytest.raises(ModelError, match="records no model folder"):
        open_checkpoint(Toy().write_store(tmp_path / "t"))


def test_a_weight_that_is_missing_or_of_another_size(tmp_path):
    toy = Toy()
    folder = toy.write_checkpoint(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    for change, message in (
        (None, "holds no weight"),
        (tensors[name][:, :9].copy(), "maps 9 to 6"),
    ):
        kept = {k: v for k, v in tensors.items() if k != name}
        save_file(kept if change is None else {**kept, name: change}, folder / "model.safetensors")
        store = toy.write_store(tmp_path / message, checkpoint=folder)
        with pytest.raises(ModelError, match=message):
            score(store, directions(store))


def test_a_norm_whose_gain_is_missing(tmp_path):
    toy = Toy()
    folder = toy.write_checkpoint(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": "olmo2"}')
    store = toy.write_store(tmp_path / "s", checkpoint=folder)
    with pytest.raises(ModelError, match=r"holds no weight .*post_attention_layernorm"):
        score(store, directions(store))


def test_scales_multiply_contributions(tmp_path):
    """Doubling a row and halving its scale changes nothing."""
    rng = np.random.default_rng(3)
    values, labels = rng.standard_normal((40, 12)), np.arange(40, dtype=np.int32) % 3
    weights, factors = rng.standard_normal((2, 12)), 2.0 ** (np.arange(40) % 5 - 2)
    plain, _, _ = write_store(_made(tmp_path / "a"), values, "F32")
    scaled, _, _ = write_store(_made(tmp_path / "b"), values * factors[:, None], "F32", [9])
    for width in (1, 4):
        wanted = _core.grouped_contributions(
            plain, "x", labels, 3, weights, width, scales=np.ones(40)
        )
        found = _core.grouped_contributions(
            scaled, "x", labels, 3, weights, width, scales=1 / factors
        )
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)
    with pytest.raises(UsageError, match="39 scales"):
        _core.grouped_contributions(plain, "x", labels, 3, weights, 1, scales=np.ones(39))
    with pytest.raises(UsageError, match="float64 vector"):
        _core.grouped_contributions(plain, "x", labels, 3, weights, 1, scales=np.ones((40, 1)))


def _made(folder):
    folder.mkdir()
    return folder


def test_weights_that_are_not_finite(tmp_path):
    toy = Toy()
    folder = toy.write_checkpoint(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.down_proj.weight"][0, 0] = np.nan
    save_file(tensors, folder / "model.safetensors")
    store = toy.write_store(tmp_path / "s", checkpoint=folder)
    with pytest.raises(NumericalError):
        score(store, directions(store))


def test_nothing_to_score(tmp_path):
    toy = Toy()
    folder = toy.write_checkpoint(tmp_path / "m")
    resid = toy.write_store(tmp_path / "a", checkpoint=folder, parts=("resid_mid",))
    with pytest.raises(UsageError, match="no mlp_act and no head_out"):
        score(resid, directions(resid))
    units = toy.write_store(tmp_path / "b", checkpoint=folder, parts=("mlp_act", "attn_out"))
    with pytest.raises(UsageError, match="no unit vectors at resid_post"):
        score(units, directions(units))


def test_heads_alone_and_neurons_alone(tmp_path):
    toy = Toy()
    folder = toy.write_checkpoint(tmp_path / "m")
    for parts, kind in ((("head_out", "resid_mid"), "head"), (("mlp_act", "resid_post"), "neuron")):
        store = toy.write_store(tmp_path / kind, checkpoint=folder, parts=parts)
        assert set(score(store, directions(store)).units) == {kind}


def test_a_value_that_is_not_finite_is_named(tmp_path):
    """Such a value cannot be written, so it is put into a store whose hashes are then redone."""
    toy = Toy(n_groups=3)
    store = toy.write_store(tmp_path / "s", checkpoint=toy.write_checkpoint(tmp_path / "m"))
    _plant_nan(store, "L1.mlp_act@last", row=4, column=7)
    with pytest.raises(NumericalError, match=r"L1\.mlp_act"):
        directions(Store.open(store.path))


def _plant_nan(store, name, *, row, column):
    path = store.path / "shards/00000.safetensors"
    tensors = load_file(path)
    tensors[name][row, column] = np.nan
    path.unlink()
    kinds = {"f": "F32", "i": "I64"}
    found = _core.write_shard(
        str(path), [(k, kinds[tensors[k].dtype.kind], tensors[k]) for k in tensors]
    )
    for file in (store.path / "emo-store.json", store.path / "shards/00000.json"):
        value = json.loads(file.read_text())
        record = value["shards"][0] if "shards" in value else value
        record.update({key: found[key] for key in ("bytes", "blake3", "chunks")})
        file.write_text(json.dumps(value))


def test_scoring_never_loads_torch():
    script = (
        "import sys; import emo.cli.score, emo.cli.directions, emo.cli.store\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

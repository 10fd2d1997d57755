from dataclasses import replace

import numpy as np
import pytest
from store_toys import EMOTIONS, Toy

from emo.analysis.directions import Directions, directions, random_directions
from emo.artifacts import read_artifact, write_artifact
from emo.errors import ArtifactError, NumericalError, UsageError
from emo.sites import Site, tensor_name
from emo.store import StoreWriter

TOY = Toy(n_groups=6)


def _by_hand(values, keep):
    """Section by section: centre inside each complete group, average over the groups."""
    rows = values.astype(np.float64).reshape(TOY.n_groups, 3, -1)
    whole = rows[keep.reshape(TOY.n_groups, 3).all(axis=1)]
    return (whole - whole.mean(axis=1, keepdims=True)).mean(axis=0)


@pytest.mark.parametrize("lost", [[], ["g1/fear", "g4/anger"]])
def test_within_group_directions_match_the_definition(tmp_path, lost):
    store = TOY.write_store(tmp_path / "s", cuts=(4, 11))
    ids = [row["id"] for row in TOY.samples]
    found = directions(store, set(ids) - set(lost), threads=1)
    keep = np.array([name not in lost for name in ids])
    for site, values in TOY.acts().items():
        expected = _by_hand(values, keep)
        if site.part in ("mlp_act", "head_out"):
            np.testing.assert_allclose(found.delta[site], expected, atol=1e-6)
        else:
            norms = np.linalg.norm(expected, axis=1)
            np.testing.assert_allclose(found.norms[site], norms, rtol=1e-6)
            np.testing.assert_allclose(found.unit[site], expected / norms[:, None], atol=1e-6)
    assert found.labels == EMOTIONS
    assert found.counts == dict.fromkeys(EMOTIONS, 6 - len(lost))
    assert found.groups == {"complete": 6 - len(lost), "incomplete": len(lost), "repeated": 0}
    assert found.accepted.sum() == 18 - len(lost)
    assert found.provenance["store"] == store.fingerprint


def _store_of(folder, values, samples):
    """A store with the same values at two sites."""
    sites = {Site(0, "resid_mid"): values.shape[1], Site(0, "mlp_act"): values.shape[1]}
    plan = TOY.plan()
    plan = replace(plan, sites=sites, samples=samples, shards=[{"last": len(samples)}])
    rows = np.stack([np.arange(len(samples)), np.zeros(len(samples), int)], axis=1)
    with StoreWriter(folder, plan) as writer:
        writer.write(0, {tensor_name(s, "last"): values for s in sites}, {"last": rows})
        return writer.finish()


def test_minus_neutral_is_class_mean_less_neutral_mean(tmp_path):
    names = ["anger", "neutral", "fear", "anger", "neutral", "fear", "fear"]
    samples = [{"id": str(i), "group": str(i), "emotion": e} for i, e in enumerate(names)]
    values = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    store = _store_of(tmp_path / "s", values, samples)
    found = directions(store, method="minus-neutral", threads=1)
    means = {e: values[[n == e for n in names]].mean(0) for e in set(names)}
    expected = np.stack([means[e] - means["neutral"] for e in ("anger", "fear")])
    np.testing.assert_allclose(found.delta[Site(0, "mlp_act")], expected, atol=1e-6)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.unit[Site(0, "resid_mid")], unit, atol=1e-6)
    assert found.counts == {"anger": 2, "fear": 3, "neutral": 2}


def test_no_complete_group_says_what_was_needed_and_what_was_there(tmp_path):
    store = TOY.write_store(tmp_path / "s")
    accepted = {row["id"] for row in TOY.samples if row["emotion"] != "fear"}
    with pytest.raises(NumericalError) as caught:
        directions(store, accepted)
    assert "all 3 emotions accepted exactly once (1 is needed, 6 were dropped)" in str(caught.value)
    assert "anger 6, fear 0, happiness 6" in str(caught.value)


def test_minus_neutral_needs_neutral_rows(tmp_path):
    store = TOY.write_store(tmp_path / "s")
    with pytest.raises(NumericalError, match="neutral 0"):
        directions(store, method="minus-neutral")


def test_one_emotion_has_no_contrast(tmp_path):
    store = Toy(emotions=("anger",)).write_store(tmp_path / "s")
    with pytest.raises(NumericalError, match="at least 2 emotions"):
        directions(store)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_emotions_that_do_not_differ_have_no_direction(tmp_path, offset):
    """Equal rows give norms of the size of rounding errors; those are not directions."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((6, 1, 5)) + offset
    values = np.repeat(shared, 3, axis=1).reshape(18, 5).astype(np.float32)
    store = _store_of(tmp_path / "s", values, TOY.samples)
    with pytest.raises(NumericalError, match=r"anger at L0\.(mlp_act|resid_mid) is zero") as caught:
        directions(store)
    assert "--sites" in str(caught.value.hint)


def test_sites_methods_and_positions_are_checked(tmp_path):
    store = TOY.write_store(tmp_path / "s")
    chosen = [Site(1, "resid_post"), Site(0, "mlp_act")]
    found = directions(store, sites=chosen)
    assert [*found.unit, *found.delta] == chosen
    for options in ({"method": "within"}, {"position": "first"}, {"sites": [Site(9, "mlp_act")]}):
        with pytest.raises(UsageError):
            directions(store, **options)


def test_a_saved_file_is_read_back(tmp_path):
    found = directions(TOY.write_store(tmp_path / "s"))
    found.save(tmp_path / "d.safetensors")
    again = Directions.load(tmp_path / "d.safetensors")
    for name in ("labels", "method", "position", "counts", "groups", "provenance"):
        assert getattr(again, name) == getattr(found, name)
    for name in ("unit", "norms", "delta"):
        a, b = getattr(found, name), getattr(again, name)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[site], b[site]) for site in a)
    assert np.array_equal(again.accepted, found.accepted)
    first = (tmp_path / "d.safetensors").read_bytes()
    again.save(tmp_path / "d.safetensors")
    assert (tmp_path / "d.safetensors").read_bytes() == first


@pytest.mark.parametrize("damage", ["meta", "shape", "norm", "name", "bytes"])
def test_a_damaged_file_is_an_artifact_error(tmp_path, damage):
    path = tmp_path / "d.safetensors"
    directions(TOY.write_store(tmp_path / "s")).save(path)
    artifact = read_artifact(path, "directions")
    arrays, meta = dict(artifact.arrays), dict(artifact.meta)
    if damage == "meta":
        del meta["method"]
    elif damage == "shape":
        arrays["unit/L0.resid_mid"] = arrays["unit/L0.resid_mid"][:2]
    elif damage == "norm":
        del arrays["norm/L0.resid_mid"]
    elif damage == "name":
        arrays["unit/nonsense"] = arrays["unit/L0.resid_mid"]
    write_artifact(path, replace(artifact, arrays=arrays, meta=meta))
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError):
        Directions.load(path)


def test_random_controls_keep_the_norms_and_nothing_else(tmp_path):
    real = directions(TOY.write_store(tmp_path / "s"))
    drawn = random_directions(real, 3)
    again = random_directions(
        replace(real, unit={Site(1, "resid_mid"): real.unit[Site(1, "resid_mid")]}), 3
    )
    site = Site(1, "resid_mid")
    assert np.array_equal(drawn.unit[site], again.unit[site])
    assert not np.array_equal(drawn.unit[site], random_directions(real, 4).unit[site])
    assert not np.array_equal(drawn.unit[site], drawn.unit[Site(0, "resid_mid")])
    for vectors in drawn.unit.values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    for site, vectors in drawn.delta.items():
        sizes = np.linalg.norm(real.delta[site], axis=1)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), sizes, rtol=1e-5)
    assert drawn.method == "random"
    assert drawn.norms is real.norms


def test_spans_are_compared_with_the_mean_of_neutral_sentences(tmp_path):
    """Neutral sentences mark no span, so they have rows at `mean` only."""
    names = ["anger", "neutral", "fear", "anger", "neutral", "fear"]
    samples = [{"id": str(i), "group": str(i), "emotion": e} for i, e in enumerate(names)]
    rng = np.random.default_rng(1)
    values = {p: rng.standard_normal((6, 5)).astype(np.float32) for p in ("mean", "span")}
    marked = [i for i, name in enumerate(names) if name != "neutral"]
    values["span"] = values["span"][marked]
    rows = {"mean": list(range(6)), "span": marked}
    sites = {Site(0, "resid_mid"): 5}
    for positions in (("mean", "span"), ("span",)):
        plan = replace(
            TOY.plan(),
            sites=sites,
            samples=samples,
            positions=positions,
            shards=[{p: len(rows[p]) for p in positions}],
        )
        with StoreWriter(tmp_path / "-".join(positions), plan) as writer:
            writer.write(
                0,
                {tensor_name(site, p): values[p] for site in sites for p in positions},
                {p: np.array([[i, -1] for i in rows[p]]) for p in positions},
            )
            store = writer.finish()
        if positions == ("span",):
            with pytest.raises(NumericalError, match="no neutral row") as caught:
                directions(store, method="minus-neutral", position="span", threads=1)
            assert "--positions span,mean" in str(caught.value.hint)
            continue
        found = directions(store, method="minus-neutral", position="span", threads=1)
        neutral = values["mean"][[1, 4]].mean(0)
        expected = np.stack(
            [values["span"][[0, 2]].mean(0) - neutral, values["span"][[1, 3]].mean(0) - neutral]
        )
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found.unit[Site(0, "resid_mid")], unit, atol=1e-6)
        assert found.counts == {"anger": 2, "fear": 2, "neutral": 2}

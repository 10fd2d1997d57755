"""Layers side by side: the arrangement of their emotions and their subspaces, with nulls."""

import json
from dataclasses import replace

import numpy as np
import pytest
from store_toys import Toy

from emo.analysis.directions import directions
from emo.experiments.layers import across_layers
from emo.geometry.overlap import overlap
from emo.geometry.rsa import rsa
from emo.report.records import Overlap, Similarity
from emo.sites import Site

pytest.importorskip("torch")
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness")
SITES = ["L0.resid_post", "L1.resid_post", "L2.resid_post"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    toy = Toy(n_groups=6, emotions=EMOTIONS, n_layers=3, d_model=32)
    return directions(toy.write_store(tmp_path_factory.mktemp("layers") / "s"))


def test_numbers_are_those_of_the_pairs(found):
    got = across_layers(found, seed=3)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got == across_layers(found, seed=3, threads=1)
    similarity, shared = got["rsa"], got["overlap"]
    assert similarity["sites"] == shared["sites"] == SITES
    first, last = (found.unit[Site(layer, "resid_post")] for layer in (0, 2))
    one = rsa(first, last)
    assert similarity["r"][0][2] == similarity["r"][2][0] == pytest.approx(one.r, abs=1e-4)
    assert similarity["p"][0][2] == pytest.approx(one.p, abs=1e-6)
    assert similarity["p_family"][0][2] >= similarity["p"][0][2]
    assert (similarity["n"], similarity["permutations"], similarity["exact"]) == (5, 120, True)
    assert -1 <= similarity["null_max"] < 1
    two = overlap(first, last, seed=3)
    assert shared["overlap"][0][2] == pytest.approx(two.overlap, abs=1e-4)
    assert shared["k"] == [4, 4, 4]
    assert shared["chance"] == pytest.approx(4 / 32)
    assert shared["null_low"] < shared["chance"] < shared["null_high"]


def test_copied_layers_are_alike_and_random_ones_are_not(found):
    rng = np.random.default_rng(0)
    unit = dict(found.unit)
    turn = np.linalg.qr(rng.standard_normal((32, 32)))[0].astype(np.float32)
    unit[Site(1, "resid_post")] = unit[Site(0, "resid_post")] @ turn
    noise = rng.standard_normal((5, 32)).astype(np.float32)
    unit[Site(2, "resid_post")] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    got = across_layers(replace(found, unit=unit))
    assert got["rsa"]["r"][0][1] == pytest.approx(1, abs=1e-4)
    assert got["rsa"]["p_family"][0][1] <= 0.05 < got["rsa"]["p_family"][0][2]
    shared = got["overlap"]
    assert shared["null_low"] / 2 < shared["overlap"][0][1] < 2 * shared["null_high"]


def test_numbers_that_allow_no_answer_say_why(found):
    three = replace(
        found,
        labels=found.labels[:3],
        unit={site: vectors[:3] for site, vectors in found.unit.items()},
    )
    got = across_layers(three)
    assert "3 conditions" in got["rsa"]["reason"]
    assert Similarity.parse(got["rsa"]).sites == ()
    assert Overlap.parse(got["overlap"]).overlap.shape == (3, 3)
    nothing = {"rsa": None, "overlap": None}
    assert across_layers(None) == across_layers(replace(found, unit={})) == nothing

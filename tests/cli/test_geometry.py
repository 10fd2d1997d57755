"""``emo geometry``: real commands over real files, by exit code, JSON, tables and warnings."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from store_toys import Toy

from emo.analysis.directions import directions
from emo.artifacts import read_artifact
from emo.cli import main
from emo.geometry.align import align
from emo.geometry.overlap import overlap
from emo.geometry.pca import pca
from emo.geometry.rsa import rsa

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
TOY = Toy(n_groups=9, emotions=EMOTIONS, d_model=24)
RSA = {"r", "p", "permutations", "null_max", "n", "metric", "correlation"}
OVERLAP = {"overlap", "chance", "null_low", "null_high", "k", "d"}
ALIGN = {"r2_heldout", "cosine", "null_mean", "condition", "rank", "method"}
BENCH = ("llama-3.1-8b-instruct", "mistral-7b-instruct-v0.3", "qwen2.5-1.5b-instruct",
         "qwen2.5-7b-instruct", "qwen3-8b")  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One set of vectors in every form, another of another width, and a store."""
    folder = tmp_path_factory.mktemp("geometry")
    store = TOY.write_store(folder / "store", cuts=(20,))
    directions(store).save(folder / "directions")
    rng = np.random.default_rng(7)
    x, order = rng.standard_normal((6, 24)), rng.permutation(6)
    y = x @ rng.standard_normal((24, 40)) / 5 + rng.standard_normal((6, 40)) / 4
    np.savez(folder / "x.npz", vectors=x, labels=EMOTIONS)
    np.savez(folder / "each.npz", **{EMOTIONS[i]: x[i] for i in order})
    save_file({EMOTIONS[i]: x[i] for i in order}, folder / "each.safetensors")
    save_file(
        {"vectors": np.ascontiguousarray(x[order])},
        folder / "x.safetensors",
        metadata={"labels": json.dumps([EMOTIONS[i] for i in order])},
    )
    np.savez(folder / "y.npz", vectors=y[order], labels=[EMOTIONS[i] for i in order])
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    a = rng.standard_normal((60, 8))
    np.savez(folder / "a.npz", vectors=a, labels=np.arange(60))
    b = a @ rng.standard_normal((8, 12)) + rng.standard_normal((60, 12)) / 10
    np.savez(folder / "b.npz", vectors=b[::-1], labels=np.arange(60)[::-1])
    return folder


@pytest.fixture
def emo(capsys, world, monkeypatch):
    """Run ``emo geometry`` in the world: (exit code, stdout, stderr)."""
    monkeypatch.chdir(world)

    def run(*words):
        with pytest.raises(SystemExit) as caught:
            main(["geometry", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def found(emo):
    """Run a command that has to succeed and return its JSON."""

    def run(*words):
        code, out, err = emo(*words, "--json")
        assert code == 0, err
        return json.loads(out, parse_constant=lambda name: pytest.fail(name))

    return run


def _arrays(world, *names):
    values = {}
    for name in names:
        with np.load(world / f"{name}.npz") as file:
            order = np.argsort([str(label) for label in file["labels"]])
            values[name] = file["vectors"][order]
    return [values[name] for name in names]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "correlation"])
@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
def test_rsa_is_that_of_the_library(found, world, metric, correlation):
    got = found("rsa", "x.npz", "y.npz", "--metric", metric, "--correlation", correlation)
    wanted = rsa(*_arrays(world, "x", "y"), metric=metric, correlation=correlation)
    assert got.keys() >= RSA
    assert (got["metric"], got["correlation"], got["n"]) == (metric, correlation, 6)
    assert got["r"] == pytest.approx(wanted.r, abs=1e-9)
    assert got["p"] == pytest.approx(wanted.p)
    assert got["null_max"] == pytest.approx(wanted.null_max, abs=1e-9)
    assert type(got["permutations"]) is int
    assert got["permutations"] == math.factorial(6)


@pytest.mark.parametrize("x", ["x.npz", "each.npz", "x.safetensors", "each.safetensors"])
@pytest.mark.parametrize("y", ["x.npz", "each.safetensors"])
def test_every_form_of_a_file_is_the_same_vectors(found, x, y):
    got = found("rsa", x, y, "--permutations", "exact")
    assert got["r"] == pytest.approx(1)
    assert got["p"] == pytest.approx(1 / 720)
    assert found("overlap", x, y)["overlap"] == pytest.approx(1)


def test_seed_permutations_and_sides(found):
    few = found("rsa", "x.npz", "y.npz", "--permutations", "500", "--seed", "3")
    assert few["permutations"] == 500
    assert few == found("rsa", "x.npz", "y.npz", "--permutations", "500", "--seed", "3")
    other = found("rsa", "x.npz", "y.npz", "--permutations", "500", "--seed", "4")
    assert few["null_mean"] != other["null_mean"]
    assert few["r"] == other["r"]
    assert few == found("rsa", "x.npz", "y.npz", "--permutations", "500", "--seed", "3",
                        "--threads", "1")  # fmt: skip
    both = found("rsa", "x.npz", "y.npz", "--two-sided")
    assert both["alternative"] == "two-sided"
    assert both["p"] >= found("rsa", "x.npz", "y.npz")["p"]


def test_a_store_gives_the_means_of_its_emotions(found, world):
    site = next(s for s in TOY.acts() if str(s) == "L1.mlp_act")
    names = [row["emotion"] for row in TOY.samples]
    acts = TOY.acts()[site].astype(np.float64)
    means = np.stack([acts[[n == e for n in names]].mean(0) for e in EMOTIONS])
    wanted = rsa(means, _arrays(world, "x")[0])
    got = found("rsa", "store", "x.npz", "--site", "L1.mlp_act")
    assert got["r"] == pytest.approx(wanted.r, abs=1e-6)
    assert got["labels"] == list(EMOTIONS)
    assert got["sites"] == ["L1.mlp_act", None]


def test_the_default_site_is_the_deepest_common_one(found):
    got = found("rsa", "store", "directions", "--centre")
    assert got["sites"] == ["L1.resid_post", "L1.resid_post"]
    assert got["r"] == pytest.approx(1, abs=1e-5)
    two = found("rsa", "store", "directions", "--centre", "--site", "L0.resid_mid,L1.z")
    assert two["sites"] == ["L0.resid_mid", "L1.head_out"]
    same = found("overlap", "store", "--site", "L0.resid_mid,L1.resid_mid")
    assert same["sites"] == ["L0.resid_mid", "L1.resid_mid"]


def test_overlap_is_that_of_the_library(found, world, tmp_path):
    got = found("overlap", "x.npz", "directions", "--draws", "200")
    assert got.keys() >= OVERLAP
    assert got["k"] == [6, 5]
    assert got["d"] == 24
    assert got["chance"] == pytest.approx(6 / 24)
    assert got["null_low"] < got["chance"] < got["null_high"]
    assert any("5 dimensions" in note for note in got["warnings"])
    other = np.random.default_rng(3).standard_normal((6, 24))
    np.savez(tmp_path / "z.npz", vectors=other, labels=list("uvwxyz"))
    same = found("overlap", "x.npz", tmp_path / "z.npz", "-k", "4")
    wanted = overlap(_arrays(world, "x")[0], other, k=4)
    assert (same["k"], same["overlap"]) == (4, pytest.approx(wanted.overlap))
    span = found("overlap", "x.npz", tmp_path / "z.npz", "--span", "12")
    assert (span["d"], span["chance"]) == (12, 0.5)


def test_random_subspaces_meet_at_chance(found, tmp_path):
    rng = np.random.default_rng(1)
    for name in "pq":
        np.savez(tmp_path / f"{name}.npz", vectors=rng.standard_normal((5, 400)), labels=range(5))
    got = found("overlap", tmp_path / "p.npz", tmp_path / "q.npz")
    assert got["chance"] == 5 / 400
    assert got["overlap"] == pytest.approx(5 / 400, abs=0.02)


@pytest.mark.parametrize("method", ["procrustes", "ridge", "lstsq"])
def test_align_is_that_of_the_library(found, world, method):
    got = found("align", "a.npz", "b.npz", "--method", method, "--permutations", "20")
    assert got.keys() >= ALIGN
    with np.load(world / "a.npz") as a, np.load(world / "b.npz") as b:
        x, y = a["vectors"], b["vectors"][::-1]
    wanted, _ = align(x, y, method=method, permutations=20)
    for name in ALIGN - {"method"}:
        assert got[name] == pytest.approx(getattr(wanted, name)), name
    assert got["method"] == method
    assert got["p"] == pytest.approx(1 / 21)
    assert got["null_mean"] < got["r2_heldout"]
    if method != "procrustes":
        assert got["r2_heldout"] > 0.9
        assert got["null_mean"] < 0.1


def test_subspaces_meet_after_the_map(emo, found, world, tmp_path):
    rng = np.random.default_rng(5)
    x, other = rng.standard_normal((200, 8)), rng.standard_normal((200, 8))
    turn = np.linalg.qr(rng.standard_normal((12, 8)))[0].T
    y = x @ turn + rng.standard_normal((200, 12)) / 20
    a = rng.standard_normal((3, 8))
    for name, values in {"p": x, "q": y, "o": other, "a": a, "b": a @ turn, "c": a[::-1]}.items():
        np.savez(tmp_path / f"{name}.npz", vectors=values, labels=range(len(values)))

    def at(x, y, a, b, *more):
        files = [tmp_path / f"{name}.npz" for name in (x, y, a, b)]
        return ("align", *files[:2], "--subspaces", *files[2:], "--permutations", "60", *more)

    got = found(*at("p", "q", "a", "b", "--method", "ridge"))
    assert got["overlap"] > 0.98
    assert got["overlap_before"] is None
    assert (got["k"], got["image_rank"], got["overlap_shuffles"]) == (3, 8, 60)
    assert got["chance"] == pytest.approx(3 / 8)
    assert got["overlap_null_low"] < got["chance"] < got["overlap_null_high"] < got["overlap"]
    assert got["kept"] == pytest.approx(1, abs=0.05)
    same = found(*at("p", "p", "a", "c", "-k", "2"))
    assert (same["overlap"], same["overlap_before"]) == pytest.approx((1, 1))
    assert same["k"] == 2
    unlike = found(*at("p", "o", "a", "a"))
    assert unlike["overlap"] < 0.9
    assert unlike["overlap_before"] == pytest.approx(1)
    out = emo(*at("p", "q", "a", "b"))[1]
    for words in ("overlap of the subspaces", "without a map none", "60 maps", "share more than"):
        assert words in out
    assert (
        "Maps of 9 shuffles are too few" in emo(*at("p", "q", "a", "b", "--permutations", "9"))[1]
    )
    path = tmp_path / "result.json"
    assert emo(*at("p", "q", "a", "b", "-o", path))[0] == 0
    assert len(json.loads(path.read_text())["provenance"]["inputs"]) == 4
    assert "overlap" not in found("align", "a.npz", "b.npz", "--permutations", "9")


def test_subspaces_are_taken_at_the_sites_aligned(found, tmp_path):
    sites = ("--site", "L0.resid_post,L1.resid_post")
    files = ("--subspaces", "directions", "directions")
    got = found("align", "store", "store", *sites, *files, "--permutations", "5")
    assert got["sites"] == ["L0.resid_post", "L1.resid_post"]
    wanted = found("overlap", "directions", *sites)
    assert got["overlap_before"] == pytest.approx(wanted["overlap"])


def test_the_map_is_saved(emo, world, tmp_path):
    command = ("align", "a.npz", "b.npz", "--permutations", "5", "--save-map")
    for method in ("procrustes", "ridge"):
        path = tmp_path / f"{method}.safetensors"
        code, _, err = emo(*command, path, "--method", method)
        assert code == 0, err
        kept = read_artifact(path, "map")
        with np.load(world / "a.npz") as a, np.load(world / "b.npz") as b:
            x, y = a["vectors"], b["vectors"][::-1]
        mapped = x - kept.arrays["mean_x"]
        for name in sorted(set(kept.arrays) - {"mean_x", "mean_y"}):
            mapped = mapped @ kept.arrays[name]
        mapped = kept.meta["scale"] * mapped + kept.arrays["mean_y"]
        np.testing.assert_allclose(mapped, align(x, y, method=method)[1].apply(x), atol=1e-9)
        assert kept.meta["method"] == method
        assert set(kept.provenance) == {"inputs", "options"}
        assert len(kept.provenance["inputs"]) == 2
        assert str(tmp_path).encode() not in path.read_bytes()
        before = path.read_bytes()
        assert emo(*command, path, "--method", method)[0] == 0
        assert path.read_bytes() == before


def test_align_rows_of_stores(emo, found, tmp_path):
    other = Toy(n_groups=9, emotions=EMOTIONS, d_model=30, seed=4)
    other.write_store(tmp_path / "t")
    got = found("align", "store", tmp_path / "t", "--method", "ridge", "--permutations", "9",
                "--site", "L0.resid_post")  # fmt: skip
    assert got["n"] == 54
    assert (got["dx"], got["dy"]) == (24, 30)
    (note,) = [n for n in got["warnings"] if "54 of 54 rows of store name an emotion" in n]
    assert "capture neutral rows too" in note
    assert "--rows neutral" not in note
    code, _, err = emo("align", "store", tmp_path / "t", "--rows", "neutral")
    assert code == 9
    assert "has no neutral rows" in err
    some = Toy(n_groups=9, emotions=(*EMOTIONS, "neutral"), d_model=30)
    some.write_store(tmp_path / "s")
    got = found("align", tmp_path / "s", tmp_path / "s", "--permutations", "9")
    assert any("54 of 63 rows" in n and "--rows neutral leaves" in n for n in got["warnings"])
    few = found("align", tmp_path / "s", tmp_path / "s", "--permutations", "9", "--rows", "neutral")
    assert few["n"] == 9


def test_penalties(found, emo):
    words = ("align", "a.npz", "b.npz", "--permutations", "9", "--method")
    got = found(*words, "ridge", "--penalties", "0.5,5e3")
    assert got["penalties"] == [0.5, 5000]
    assert got["penalty"] == 0.5
    assert emo(*words, "lstsq", "--penalties", "1")[0] == 2
    assert emo(*words, "ridge", "--penalties", "1,x")[0] == 2
    assert emo(*words, "ridge", "--penalties", "-1")[0] == 2


def test_pca_is_that_of_the_library(found, world):
    got = found("pca", "a.npz", "-k", "3")
    wanted = pca(np.load(world / "a.npz")["vectors"], 3)
    np.testing.assert_allclose(got["components"], wanted.components, atol=1e-8)
    np.testing.assert_allclose(got["explained"], wanted.explained, atol=1e-8)
    rows = found("pca", "store", "-k", "2", "--site", "L0.resid_post")
    site = next(s for s in TOY.acts() if str(s) == "L0.resid_post")
    wanted = pca(TOY.acts()[site], 2)
    np.testing.assert_allclose(rows["components"], wanted.components, atol=1e-4)
    assert (rows["n"], rows["d"], rows["site"]) == (54, 24, "L0.resid_post")
    assert found("pca", "x.npy", "-k", "2")["n"] == 6


def test_grids(found, emo):
    got = found("rsa", "directions", "--sites", "resid_post,L0.resid_mid")
    names = ["L0.resid_post", "L1.resid_post", "L0.resid_mid"]
    assert got["sites"] == [names, names]
    np.testing.assert_allclose(np.diag(got["r"]), 1)
    np.testing.assert_allclose(got["r"], np.transpose(got["r"]))
    assert (np.array(got["p_family"]) >= np.array(got["p"])).all()
    one = found("rsa", "directions", "--site", "L0.resid_post,L1.resid_post")
    assert got["r"][0][1] == pytest.approx(one["r"])
    assert got["p"][0][1] == pytest.approx(one["p"])
    wide = found("rsa", "store", "x.npz", "--sites", "all", "--centre")
    assert len(wide["sites"][0]) == 14
    assert wide["sites"][1] == [None]
    lap = found("overlap", "directions", "--sites", "resid_post")
    np.testing.assert_allclose(np.diag(lap["overlap"]), 1)
    assert np.array(lap["chance"]).tolist() == [[5 / 24] * 2] * 2
    assert lap.keys() >= OVERLAP
    alone = found("overlap", "directions", "--site", "L0.resid_post,L1.resid_post")
    for name in ("overlap", "chance", "null_low", "null_high"):
        assert np.shape(lap[name]) == (2, 2)
        assert lap[name][0][1] == pytest.approx(alone[name], abs=1e-6)
    both = found("overlap", "directions", "store", "--sites", "resid_post", "--centre")
    np.testing.assert_allclose(np.diag(both["overlap"]), 1, atol=1e-6)
    code, _, err = emo("overlap", "directions", "--sites", "all")
    assert code == 2
    assert "width" in err


def test_tables_say_what_chance_is(emo):
    code, out, err = emo("rsa", "x.npz", "y.npz")
    assert code == 0, err
    for words in ("r ", "p ", "null", "all 720", "6 (15 pairs)", "relabeling reaches at most"):
        assert words in out
    out = emo("overlap", "x.npz", "directions")[1]
    for words in ("overlap", "chance", "95 % of random subspaces", "principal angles"):
        assert words in out
    assert "too few to tell" in emo("rsa", "x.npz", "each.npz", "--permutations", "9")[1]
    assert "too few to tell" in emo("align", "a.npz", "b.npz", "--permutations", "9")[1]
    out = emo("align", "a.npz", "b.npz", "--permutations", "40")[1]
    for words in ("held-out R²", "same, shuffled pairs", "nuclear norm", "carries over to pairs"):
        assert words in out
    out = emo("pca", "a.npz")[1]
    assert "than the" in out
    assert "independent columns reach" in out
    for sites in ("all", "resid_post"):
        assert "corrected for all pairs" in emo("rsa", "directions", "--sites", sites)[1]
    assert "random ones of these dimensions" in emo("overlap", "directions", "--sites",
                                                    "resid_post")[1]  # fmt: skip


def test_a_subspace_that_fills_the_space_proves_nothing(emo, tmp_path):
    for n in range(2):
        rows = np.random.default_rng(n).standard_normal((6, 6))
        np.savez(tmp_path / f"{n}.npz", vectors=rows, labels=range(6))
    out = emo("overlap", tmp_path / "0.npz", tmp_path / "1.npz")[1]
    assert "this proves nothing: 1.000" in out


def test_wide_grids_fit_the_terminal(emo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = emo("overlap", "store", "--sites", "resid_pre,resid_mid,resid_post,attn_out,mlp_out",
              "--centre")[1]  # fmt: skip
    assert "one column in 4; all are in --json" in " ".join(out.split())
    assert "…" not in out
    assert "1.00" in out
    assert "x.npz and y.npz" in emo("rsa", "x.npz", "y.npz")[1]
    assert "one set only" in emo("rsa", "directions", "--sites", "L0.resid_post")[1]


def test_unsound_designs_warn_on_stderr(emo):
    code, out, err = emo("align", "x.npz", "y.npz", "--permutations", "9", "--json", "--quiet")
    assert code == 0
    assert err.startswith("warning: Procrustes on")
    assert json.loads(out)["warnings"]
    assert "common mean, which angles mostly see: --centre" in emo("rsa", "store", "x.npz")[2]
    assert "common mean" not in emo("rsa", "store", "x.npz", "--centre")[2]
    assert "matched by their number" in emo("rsa", "x.npy", "y.npy")[2]
    assert "matched" not in emo("overlap", "x.npy", "x.npy")[2]


def test_artifacts(emo, found, tmp_path):
    commands = {
        "rsa": ("rsa", "x.npz", "y.npz"),
        "overlap": ("overlap", "store", "--site", "L0.resid_post,L1.resid_post"),
        "align": ("align", "a.npz", "b.npz", "--permutations", "9"),
        "pca": ("pca", "directions", "-k", "2"),
    }
    for name, command in commands.items():
        path = tmp_path / f"{name}.json"
        code, out, err = emo(*command, "-o", path)
        assert code == 0, err
        assert out
        assert f"wrote {path}" in err
        record = json.loads(path.read_text())
        assert record["kind"] == f"geometry-{name}"
        assert record["format"] == 1
        provenance = record.pop("provenance")
        assert set(provenance) == {"inputs", "options"}
        assert all("sha256" in one or "fingerprint" in one for one in provenance["inputs"])
        for word in ("kind", "format", "version"):
            record.pop(word)
        assert record == found(*command)
        assert str(tmp_path) not in path.read_text()
        before = path.read_bytes()
        assert emo(*command, "-o", path, "--quiet", "--json")[2].count("wrote") == 0
        assert path.read_bytes() == before


def _write(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("code", "words", "command"),
    [
        (2, "two inputs are compared, there is 1", "rsa x.npz"),
        (2, "there are 3", "rsa x.npz x.npz x.npz"),
        (2, "no site L9.resid_post", "rsa store directions --site L9.resid_post"),
        (2, "no site nowhere", "rsa store directions --site nowhere"),
        (2, "names 3 sites for 2 inputs", "rsa store directions --site L0.z,L1.z,L0.z"),
        (2, "has none", "rsa x.npz y.npz --site L0.z"),
        (2, "has none", "rsa x.npz y.npz --sites all"),
        (2, "no position 'mean'", "rsa store directions --position mean"),
        (2, "neither a number", "rsa x.npz y.npz --permutations 0"),
        (2, "neither a number", "rsa x.npz y.npz --permutations all"),
        (2, "manhattan", "rsa x.npz y.npz --metric manhattan"),
        (2, "exact test", "rsa many.npz many.npz --permutations exact"),
        (2, "width", "overlap x.npz y.npz"),
        (2, "'rsb'", "rsb x.npz"),
        (2, "Missing argument", "pca"),
        (2, "would write over its own input", "rsa x.npz y.npz -o x.npz"),
        (2, "is a folder", "rsa x.npz y.npz -o store"),
        (2, "--save-map store is a folder", "align a.npz b.npz --save-map store"),
        (2, "--save-map would write over its own", "align a.npz b.npz --save-map a.npz"),
        (2, "are both new", "align a.npz b.npz --save-map new -o new"),
        (2, "are for --subspaces", "align a.npz b.npz -k 2"),
        (2, "the map gives 12", "align a.npz b.npz --subspaces a.npz a.npz"),
        (
            2,
            "no site L0.resid_post",
            "align store store --site L0.resid_post --subspaces sites.npz sites.npz",
        ),
        (3, "only x.npz has 'anger'", "rsa x.npz few.npz"),
        (3, "the label 'a' is there 2 times", "rsa twice.npz x.npz"),
        (5, "no such file: none.npz", "rsa x.npz none.npz"),
        (5, "not a store", "rsa x.npz ."),
        (5, "Python objects", "rsa objects.npz x.npz"),
        (5, "text.txt holds no vectors", "pca text.txt"),
        (5, "holds moments", "rsa store/MOMENTS x.npz"),
        (9, "'b' is not finite at place 1", "rsa nan.npz x.npz"),
        (9, "3 conditions", "rsa few.npz few.npz"),
        (9, "all dissimilarities", "rsa constant.npz constant.npz --metric euclidean"),
        (9, "zero", "rsa zero.npz zero.npz"),
        (9, "rows are equal", "pca zero.npz"),
        (9, "all the same", "align zero.npz zero.npz"),
        (9, "rows", "align few.npz few.npz"),
        (9, "spans nothing", "overlap zero.npz zero.npz"),
        (9, "spans nothing", "overlap equal.npz x.npz --centre"),
        (9, "10 vectors are all equal", "overlap equal.npz x.npz"),
        (9, "10 vectors are all equal", "overlap equal.npz x.npz -k 1"),
    ],
)
def test_what_is_refused(emo, world, code, words, command):
    rng = np.random.default_rng(0)
    np.savez("few.npz", vectors=rng.standard_normal((3, 4)), labels=EMOTIONS[1:4])
    np.savez("twice.npz", vectors=rng.standard_normal((3, 4)), labels=["a", "b", "a"])
    np.savez("many.npz", vectors=rng.standard_normal((20, 4)), labels=range(20))
    np.savez("objects.npz", vectors=np.array([{}, []], object), labels=["a", "b"])
    np.savez("nan.npz", vectors=[[1, 2], [3, np.nan]], labels=["a", "b"])
    np.savez("constant.npz", vectors=np.eye(5), labels=range(5))
    np.savez("sites.npz", layer_1__anger=np.ones(4), layer_2__anger=np.ones(4))
    np.savez("equal.npz", vectors=np.tile(rng.standard_normal(24), (10, 1)), labels=range(10))
    np.savez("zero.npz", vectors=np.zeros((5, 3)), labels=range(5))
    (world / "text.txt").write_text("anger 1 2 3\n")
    emo("rsa", "store", "directions")
    moments = next((world / "store" / "stats").iterdir())
    result = emo(*command.replace("store/MOMENTS", str(moments)).split())
    assert result[0] == code, result[2]
    lines = result[2].splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, result[2]
    assert words in errors[0]
    assert sum(line.startswith("hint: ") for line in lines) <= 1, result[2]
    assert "Traceback" not in result[2]
    assert result[1] == ""


def test_geometry_never_loads_torch(world):
    script = (
        "import sys\nfrom emo.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try:\n        main(['geometry', *command.split('|')])\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'ml_dtypes'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    commands = ("rsa|directions|x.npz", "overlap|x.npz|x.safetensors", "pca|store",
                "align|a.npz|b.npz|--permutations|5")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *commands], cwd=world, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _sites(shared, model):
    with np.load(shared / f"data/emotion-vector-bench/results/{model}/raw_vectors.npz") as file:
        return list(dict.fromkeys(name.partition("__")[0] for name in file.files))


@pytest.mark.parametrize(("which", "low", "high"), [(2, 0.9635, 0.9915), (3, 0.9365, 0.9935)])
def test_five_models_arrange_twenty_emotions_alike(found, shared, which, low, high):
    """The ranges are those published with the vectors, to the rounding they are given in."""
    folder = shared / "data/emotion-vector-bench/results"
    values = []
    for pair in itertools.combinations(BENCH, 2):
        files = [folder / model / "raw_vectors.npz" for model in pair]
        site = ",".join(_sites(shared, model)[which] for model in pair)
        got = found("rsa", *files, "--site", site, "--permutations", "500")
        assert got["n"] == 20
        assert got["p"] == pytest.approx(1 / 501)
        assert got["null_max"] < 0.6
        values.append(got["r"])
    assert low <= min(values) < min(values) + 0.02 < max(values) <= high


def test_a_grid_over_the_layers_of_two_models(found, shared):
    folder = shared / "data/emotion-vector-bench/results"
    files = [folder / model / "raw_vectors.npz" for model in BENCH[:2]]
    got = found("rsa", *files, "--sites", "all", "--permutations", "300")
    assert np.shape(got["r"]) == (4, 4)
    assert np.min(got["r"]) > 0.8
    assert np.max(got["p_family"]) == pytest.approx(1 / 301)

"""``emo store``, ``emo directions`` and ``emo score`` on a toy store, by exit code and output."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
from store_toys import EMOTIONS, Toy

from emo import _core
from emo.analysis.directions import Directions
from emo.analysis.scores import Scores
from emo.cli import main
from emo.data.texts import Verdict, write_verdicts
from emo.errors import ResourceError
from emo.sites import Site
from emo.store import StoreWriter

TOY = Toy(n_groups=5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return TOY.write_store(
        folder / "s", cuts=(4,), checkpoint=TOY.write_checkpoint(folder / "m")
    ).path


@pytest.fixture
def emo(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def _refused(result, code, words):
    assert result[0] == code
    lines = result[2].splitlines()
    assert [line for line in lines if line.startswith("error:")] == [
        line for line in lines if words in line
    ], result[2]
    assert "Traceback" not in result[2]


def test_info(emo, store):
    code, out, _ = emo("store", "info", store, "--json")
    assert code == 0
    assert json.loads(out)["positions"] == {"last": 15}
    code, out, _ = emo("store", "info", store)
    assert code == 0
    assert "toy (llama, 2 layers)" in out
    assert "anger 5, fear 5, happiness 5" in out


def test_verify(emo, store, tmp_path):
    code, out, err = emo("store", "verify", store, "--quiet")
    assert (code, err) == (0, "")
    assert "is sound: 2 shards" in out
    assert json.loads(emo("store", "verify", store, "--json")[1])["sound"] is True
    broken = TOY.write_store(tmp_path / "s").path
    shard = broken / "shards/00000.safetensors"
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    _refused(emo("store", "verify", broken), 5, "00000.safetensors")
    shard.write_bytes(raw[:-1])
    _refused(emo("store", "info", broken), 5, "00000.safetensors has")


def test_what_is_no_store(emo, tmp_path):
    _refused(emo("store", "info", tmp_path / "none"), 5, "no such store")
    with StoreWriter(tmp_path / "s", TOY.plan()):
        pass
    result = emo("store", "info", tmp_path / "s")
    _refused(result, 5, "not a finished store")
    assert "hint: run the same capture command again to finish it" in result[2]


def test_directions_then_scores(emo, store, tmp_path):
    path, scores = tmp_path / "d.safetensors", tmp_path / "out" / "scores.safetensors"
    code, out, err = emo("directions", store, "-o", path, "--threads", "1")
    assert code == 0
    assert "groups: 5 complete" in out
    assert f"wrote {path}" in err.replace("\n", "")
    code, out, err = emo("score", store, "--directions", path, "--top", "3", "--json", "-o", scores)
    assert code == 0
    top = json.loads(out)["top"]
    assert set(top) == {"neuron", "head"}
    assert [len(top["neuron"][e]) for e in EMOTIONS] == [3, 3, 3]
    first = top["neuron"]["fear"][0]
    again = Scores.load(scores).top(1, "neuron", "fear")[0]
    assert (first["layer"], first["unit"], first["mean"]) == (again.layer, again.unit, again.mean)
    with open(scores.with_suffix(".csv"), newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * 2 * (TOY.d_mlp + TOY.n_heads)
    code, out, err = emo("score", store, "--directions", path, "--quiet", "-o", scores)
    assert (code, err) == (0, "")
    assert "fear: top neurons" in out
    assert "95 % interval of the mean, Student's t" in out


def test_parts_leave_nothing_to_scan_and_the_same_scores(emo, store, tmp_path, monkeypatch):
    whole, shared = (tmp_path / name for name in ("whole", "shared"))
    for folder in (whole, shared):
        shutil.copytree(store, folder, ignore=shutil.ignore_patterns("stats"))
    path = tmp_path / "d.safetensors"
    assert emo("directions", whole, "-o", path)[0] == 0
    command = ("score", shared, "--directions", path)
    n_sites = 0
    for number in (3, 1, 2):
        code, out, err = emo(*command, "--part", f"{number}/3", "--json")
        assert code == 0
        assert f"scanned part {number}/3" in err
        n_sites += json.loads(out)["sites"]
    assert n_sites == 2 * TOY.n_layers
    assert emo("score", whole, "--directions", path, "-o", tmp_path / "w.safetensors")[0] == 0
    for name in ("moments", "grouped_contributions"):
        monkeypatch.setattr(_core, name, None)
    assert emo(*command, "-o", tmp_path / "s.safetensors")[0] == 0
    assert (tmp_path / "w.safetensors").read_bytes() == (tmp_path / "s.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--part", "5/4"), "no part 5 of 4"),
        (("--part", "0/4"), "no part 0 of 4"),
        (("--part", "first"), "names no part"),
        (("--part", "0/0"), "names no part"),
        (("--part", "1/2", "-o", "x.safetensors"), "writes no scores"),
        ((), "-o is missing"),
    ],
)
def test_parts_that_there_are_not_are_refused(emo, store, tmp_path, options, words):
    path = tmp_path / "d.safetensors"
    assert emo("directions", store, "-o", path)[0] == 0
    _refused(emo("score", store, "--directions", path, *options), 2, words)


def test_parts_need_a_store_that_keeps_them(emo, store, tmp_path, monkeypatch):
    path = tmp_path / "d.safetensors"
    assert emo("directions", store, "-o", path)[0] == 0
    command = ("score", store, "--directions", path, "--part", "1/2")
    with monkeypatch.context() as patch:
        patch.setattr("emo.store.moments._is_writable", lambda folder: False)
        _refused(emo(*command), 8, "may not be written")

    def full(*_):
        raise ResourceError("cannot write: No space left on device")

    shutil.rmtree(store / "stats")
    monkeypatch.setattr("emo.store.moments.write_artifact", full)
    _refused(emo(*command), 8, "No space left on device")


@pytest.mark.parametrize("verb", ["align", "pca", "overlap"])
def test_every_way_to_read_finds_a_flipped_bit(emo, tmp_path, verb):
    opened = TOY.write_store(tmp_path / "s", cuts=(4,))
    path = opened.shards("L1.resid_post", "last")[1]
    entry = next(row for row in _core.inspect_shard(path) if row[0] == "L1.resid_post@last")
    with open(path, "r+b") as file:
        file.seek(entry[4] - 1)
        byte = file.read(1)[0]
        file.seek(entry[4] - 1)
        file.write(bytes([byte ^ 1]))
    site = "L1.resid_post" if verb == "pca" else "L0.resid_post,L1.resid_post"
    _refused(emo("geometry", verb, opened.path, "--site", site), 5, "is damaged")


@pytest.mark.parametrize("io", ["mmap", "pread"])
def test_the_way_of_reading_reaches_the_kernels_and_changes_no_bit(
    emo, store, tmp_path, monkeypatch, io
):
    used = set()

    def spied(name):
        kernel = getattr(_core, name)

        def call(*arguments, **options):
            used.add((name, options["io"]))
            return kernel(*arguments, **options)

        return call

    scans = ("moments", "grouped_contributions", "gram_product")
    usual, other = (tmp_path / name for name in ("usual", "other"))
    shutil.copytree(store, usual, ignore=shutil.ignore_patterns("stats"))
    shutil.copytree(store, other, ignore=shutil.ignore_patterns("stats"))
    told = [_all_verbs(emo, usual)]
    for name in scans:
        monkeypatch.setattr(_core, name, spied(name))
    told.append(_all_verbs(emo, other, "--io", io))
    assert used == {(name, io) for name in scans}
    assert told[0] == told[1]


def _all_verbs(emo, store, *options):
    """What every verb that scans a store writes and tells."""
    found, scores = store / "d.safetensors", store / "s.safetensors"
    layers = ("--site", "L0.resid_post,L1.resid_post")
    commands = [
        ("geometry", "pca", store, "-k", 2),
        ("geometry", "align", store, *layers, "--permutations", 9),
        ("directions", store, "-o", found),
        ("score", store, "--directions", found, "-o", scores),
        ("store", "verify", store),
        ("geometry", "overlap", store, *layers),
    ]
    told = []
    for command in commands:
        code, out, err = emo(*command, "--json", *options)
        assert code == 0, err
        told.append(out.replace(str(store), "STORE"))
    return told, found.read_bytes(), scores.read_bytes()


def _verdicts(path, lost):
    rows = [
        Verdict(
            id=row["id"],
            sample=row["group"],
            emotion=row["emotion"],
            method="prompting",
            label="neutral" if row["id"] in lost else row["emotion"],
            unlabelled=None,
            score=None,
            judge="test",
        )
        for row in TOY.samples
    ]
    write_verdicts(path, rows)
    return path


def test_verdicts_choose_the_rows(emo, store, tmp_path):
    verdicts = _verdicts(tmp_path / "v.jsonl", {"g0/fear"})
    path = tmp_path / "d.safetensors"
    assert emo("directions", store, "--verdicts", verdicts, "-o", path)[0] == 0
    assert Directions.load(path).counts == dict.fromkeys(EMOTIONS, 4)
    scores = tmp_path / "s.safetensors"
    assert emo("score", store, "--directions", path, "-o", scores)[0] == 0
    assert Scores.load(scores).units["head"].n.tolist() == [5, 4, 5]
    none = _verdicts(
        tmp_path / "w.jsonl", {row["id"] for row in TOY.samples if "fear" in row["id"]}
    )
    result = emo("directions", store, "--verdicts", none, "-o", path)
    _refused(result, 9, "fear 0")


def test_sites_choose_what_is_computed(emo, store, tmp_path):
    path = tmp_path / "d.safetensors"
    assert emo("directions", store, "--sites", "resid_post,L1.z", "-o", path)[0] == 0
    found = Directions.load(path)
    assert list(found.unit) == [Site(0, "resid_post"), Site(1, "resid_post")]
    assert list(found.delta) == [Site(1, "head_out")]
    for sites, words in (("resid_pots", "unknown site"), ("L9.mlp_act", "no site L9.mlp_act")):
        _refused(emo("directions", store, "--sites", sites, "-o", path), 2, words)
    _refused(emo("directions", store, "--position", "mean", "-o", path), 2, "no position")
    _refused(emo("directions", store, "--method", "minus-neutral", "-o", path), 9, "neutral 0")
    _refused(emo("directions", store, "--method", "within", "-o", path), 2, "within")


def test_scores_need_the_captured_weights(emo, store, tmp_path):
    path, scores = tmp_path / "d.safetensors", tmp_path / "s.safetensors"
    emo("directions", store, "-o", path)
    other = Toy(n_groups=5, seed=9).write_checkpoint(tmp_path / "m")
    command = ("score", store, "--directions", path, "-o", scores)
    _refused(emo(*command, "--model", other), 6, "other weights than those captured")
    _refused(emo(*command, "--model", tmp_path / "none"), 4, "does not exist")
    _refused(emo("score", store, "--directions", store / "x", "-o", scores), 5, "no such file")
    same = TOY.write_checkpoint(tmp_path / "same")
    assert emo(*command, "--model", same)[0] == 0


def test_scoring_from_the_command_line_never_loads_torch(store, tmp_path):
    script = (
        "import sys\nfrom emo.cli import main\n"
        "for arguments in (sys.argv[1].split('|'), sys.argv[2].split('|')):\n"
        "    try:\n        main(arguments)\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "assert not {'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)\n"
    )
    path = tmp_path / "d.safetensors"
    subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            f"directions|{store}|-o|{path}",
            f"score|{store}|--directions|{path}|-o|{tmp_path / 's.safetensors'}",
        ],
        check=True,
        capture_output=True,
    )

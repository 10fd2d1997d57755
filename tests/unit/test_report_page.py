"""The page: valid, small, static, escaped, and honest about what is missing."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_runs import Made, write_run

from emo.analysis.scores import Scores
from emo.errors import ArtifactError, EmoError
from emo.report import build, missing_parts

SMALL = Made(n_layers=4, n_heads=4, n_neurons=8, n_points=30, n_samples=12)
LARGE = Made(
    emotions=tuple(f"emotion-{i:02}" for i in range(28)),
    n_layers=80,
    n_heads=32,
    n_neurons=4,
    n_samples=12,
    n_points=2000,
    reply="wordy " * 400,
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
_VOID = {"meta", "br", "hr", "col", "wbr", "link", "img", "input"}
_ALLOWED = {"https://arxiv.org/abs/2510.11328"}


class Page(HTMLParser):
    """A page, checked while it is read: every element closes in its turn."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} repeats an attribute"
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "p":
            assert "p" not in self.open
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def _page(folder: Path) -> Page:
    return Page(build(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", SMALL)


def test_the_page_is_valid(finished: Path) -> None:
    markup = build(finished).read_text(encoding="utf-8")
    page = Page(markup)
    assert markup.startswith('<!doctype html>\n<html lang="en">')
    ids = page.all("id")
    assert len(set(ids)) == len(ids)
    referred = [name for value in page.all("aria-labelledby") for name in value.split()]
    assert set(referred) <= set(ids)
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)
    assert page.tags["h1"] == 1


def test_pictures(finished: Path) -> None:
    page = _page(finished)
    assert page.tags["svg"] - page.all("aria-hidden").count("true") >= 4
    named = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert named == ["img"] * len(named)
    assert not re.search(r"\b(nan|inf)\b", " ".join(page.all("d") + page.all("transform")))


def test_sections_in_order(finished: Path) -> None:
    sections = [
        v for tag, name, v in _page(finished).attributes if (tag, name) == ("section", "id")
    ]
    assert sections == [
        "accuracy", "strength", "units", "geometry", "replies", "data", "judge", "provenance",
        "reading",
    ]  # fmt: skip


def test_the_page_is_static_and_alone(finished: Path) -> None:
    markup = build(finished).read_text(encoding="utf-8")
    page = Page(markup)
    assert not {"script", "iframe", "link", "img", "object", "form", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not page.all("src")
    assert {href for href in page.all("href") if not href.startswith("#")} == _ALLOWED
    assert set(re.findall(r"https?://[^\"<) ]+", markup)) == _ALLOWED
    assert "url(" not in markup
    assert "@import" not in markup


def test_size(finished: Path, tmp_path: Path) -> None:
    assert build(finished).stat().st_size < 500_000
    assert build(write_run(tmp_path, LARGE)).stat().st_size < 1_000_000


def test_the_same_artifacts_give_the_same_bytes(small: Path) -> None:
    first = build(small).read_bytes()
    assert build(small).read_bytes() == first


def test_the_page_does_not_depend_on_its_folder(small: Path, tmp_path: Path) -> None:
    other = small.rename(tmp_path / "elsewhere")
    assert str(tmp_path) not in build(other).read_text(encoding="utf-8")


def test_hostile_texts(tmp_path: Path) -> None:
    made = replace(
        SMALL,
        emotions=(HOSTILE, "b\"'&"),
        model_name=f"{HOSTILE} \x1b end",
        reply=f"{HOSTILE} \x00 end",
        theme=HOSTILE,
    )
    write_run(tmp_path, made)
    page = _page(tmp_path)
    assert not {"script", "img"} & set(page.tags)
    assert not page.all("onerror")
    assert HOSTILE in page.text
    assert page.text.count("\ufffd end") > 1


@pytest.mark.parametrize("name", ["run.json", "texts.jsonl"])
def test_half_a_character_is_refused(tmp_path: Path, name: str) -> None:
    file = write_run(tmp_path, replace(SMALL, model_name="SPLIT", reply="SPLIT")) / name
    assert "SPLIT" in file.read_text()
    file.write_text(file.read_text().replace("SPLIT", "\\ud800"))
    with pytest.raises(EmoError, match="half a surrogate pair"):
        build(tmp_path)


def test_numbers_on_the_page_are_those_of_the_summary(small: Path) -> None:
    summary = json.loads((small / "summary.json").read_text())
    page = _page(small)
    for row in summary["methods"].values():
        assert f"{100 * row['accuracy']:.1f}\u202f%" in "".join(page.words)
        assert f"{100 * row['low']:.1f}–{100 * row['high']:.1f}" in "".join(page.words)


def test_chance_and_provenance(small: Path) -> None:
    text = _page(small).text
    for words in ("chance 16.7 %", "9f2c" * 16, "linear-3fa9c1d2", "5-fold cross-validation",
                  "2510.11328", "0.1.0", "seed 0"):  # fmt: skip
        assert words in text


def test_replies_right_and_wrong(small: Path) -> None:
    text = _page(small).text
    assert "✓ judged anger" in text
    assert "✗ judged" in text


@pytest.mark.parametrize(
    "name",
    ["data.json", "texts.jsonl", "verdicts.jsonl", "summary.json", "strength.json",
     "directions.safetensors", "scores.safetensors", "geometry.json"],
)  # fmt: skip
def test_one_artifact_missing(small: Path, name: str) -> None:
    assert "Missing:" not in _page(small).text
    (small / name).unlink()
    page = _page(small)
    assert "Missing:" in page.text
    assert f"The run folder has no {name}." in page.text
    assert missing_parts(small) == [name]


def test_a_run_that_has_only_begun(small: Path) -> None:
    for path in small.iterdir():
        if path.name != "run.json":
            path.unlink()
    page = _page(small)
    assert "This run is not finished" in page.text
    assert page.text.count("Missing:") >= 8


def test_no_choice_of_strength(tmp_path: Path) -> None:
    text = _page(write_run(tmp_path, replace(SMALL, strain=9.0))).text
    assert "there is no choice" in text
    assert "The run went on with the mildest" in text


def test_nothing_labelled(small: Path) -> None:
    summary = json.loads((small / "summary.json").read_text())
    empty = {"accuracy": None, "low": None, "high": None, "n": 0, "unlabelled": 4}
    for row in summary["methods"].values():
        row |= empty
        for cells in row["by"].values():
            for cell in cells.values():
                cell |= empty
    summary["judge"]["reliability"] = {}
    (small / "summary.json").write_text(json.dumps(summary))
    text = _page(small).text
    assert "Steering has not been evaluated" in text
    assert "Nobody has measured how often it is right" in text


def test_bare_summary(small: Path) -> None:
    bare = {"methods": {"prompting": {"accuracy": 0.5, "n": 10}}}
    (small / "summary.json").write_text(json.dumps(bare))
    assert "50.0" in _page(small).text


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"it has no run\.json"):
        build(tmp_path)
    with pytest.raises(ArtifactError, match="it is not a folder"):
        build(tmp_path / "nowhere")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "[]"),
        ("run.json", '{"model": "a name"}'),
        ("run.json", "not JSON"),
        ("summary.json", "{}"),
        ("summary.json", '{"methods": {"prompting": {"accuracy": 2, "n": 3}}}'),
        ("summary.json", '{"methods": {"prompting": {"accuracy": "high", "n": "many"}}}'),
        ("strength.json", '{"grid": [{"layers": 3}]}'),
        ("geometry.json", '{"layers": [], "cosine": {"sublayers": ["a"], "matrix": [[1, 2]]}}'),
        ("geometry.json", '{"layers": [{"layer": 0, "pca": {"points": [[1]], "labels": ["a"]}}]}'),
        ("geometry.json", '{"layers": [], "rsa": {"sites": ["a", "b"], "r": [[1]]}}'),
        ("geometry.json", '{"layers": [], "overlap": {"sites": ["a"], "overlap": [[1]]}}'),
        ("geometry.json", '{"layers": [], "overlap": [3]}'),
        ("data.json", "7"),
        ("verdicts.jsonl", '{"id": "a"}\n'),
        ("texts.jsonl", "{}\n"),
        ("scores.safetensors", "x"),
        ("directions.safetensors", "x"),
    ],
)
def test_damaged_artifacts(small: Path, name: str, content: str) -> None:
    (small / name).write_text(content)
    with pytest.raises(ArtifactError, match=re.escape(name)):
        build(small)


def test_an_old_report_stays_when_an_artifact_is_damaged(small: Path) -> None:
    before = build(small).read_bytes()
    (small / "summary.json").write_text("{}")
    with pytest.raises(ArtifactError):
        build(small)
    assert (small / "report.html").read_bytes() == before


def test_only_neurons_were_scored(small: Path) -> None:
    path = small / "scores.safetensors"
    scores = Scores.load(path)
    replace(scores, units={"neuron": scores.units["neuron"]}).save(path)
    text = _page(small).text
    assert "The 5 neurons that push most" in text
    assert "No heads were scored in this run." in text


def test_geometry_without_numbers(small: Path) -> None:
    geometry = {
        "layers": [{"layer": 0, "pca": {"points": [[float("nan"), 0]], "labels": ["anger"]}}],
        "cosine": None,
    }
    (small / "geometry.json").write_text(json.dumps(geometry))
    assert 'id="pca-0' not in build(small).read_text(encoding="utf-8")


def test_shares_of_components_beside_their_level(small: Path) -> None:
    text = _page(small).text
    assert "independent columns would explain 6 % to 9 % (Marchenko-Pastur level)" in text
    assert "independent columns reach 6 % in the first" in text
    geometry = json.loads((small / "geometry.json").read_text())
    for layer in geometry["layers"]:
        del layer["pca"]["null"]
    (small / "geometry.json").write_text(json.dumps(geometry))
    assert "independent columns" not in build(small).read_text(encoding="utf-8")


def test_layers_beside_their_null(small: Path) -> None:
    markup = build(small).read_text(encoding="utf-8")
    text = Page(markup).text
    found = json.loads((small / "geometry.json").read_text())
    apart = np.triu(np.ones((4, 4), bool), 1)
    beyond = int((np.array(found["rsa"]["p_family"])[apart] <= 0.05).sum())
    assert 0 < beyond < 6
    for words in (f"{beyond} of 6 pairs of layers are alike beyond chance", "all 720 permutations",
                  "which reach r = 0.71 at most", "5 dimensions of 3,072",
                  "Random subspaces share 0.2 % on average"):  # fmt: skip
        assert words in text
    picture = markup[markup.index("layer-rsa-title") :].partition("</svg>")[0]
    weak = np.array(found["rsa"]["p_family"]) > 0.05
    assert picture.count("struck") == weak.sum() > 0


def test_runs_without_layers_side_by_side(small: Path) -> None:
    """Runs made before layers were compared, and those whose numbers allow no answer."""
    path = small / "geometry.json"
    geometry = json.loads(path.read_text())
    path.write_text(json.dumps(geometry | {"rsa": {"reason": "3 conditions allow no test"}}))
    text = _page(small).text
    assert "arrange the emotions: 3 conditions allow no test." in text
    assert "Do the layers use the same dimensions?" in text
    for key in ("rsa", "overlap"):
        del geometry[key]
    path.write_text(json.dumps(geometry))
    text = _page(small).text
    assert "Do the layers" not in text
    assert "The same direction in every sublayer?" in text


@pytest.mark.parametrize(
    ("name", "shown"), [("/models/tiny", "tiny"), ("org/tiny", "org/tiny"), ("", "unnamed model")]
)
def test_name_of_the_model(tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"model": {"name": name}}))
    assert f"<h1>{shown}</h1>" in build(tmp_path).read_text(encoding="utf-8")

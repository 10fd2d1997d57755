"""`emo run` on the bundled model: all stages, resumed, refused, and what they leave behind."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emo.cli import emo as command
from emo.cli import main
from emo.data.bundle import bundled
from emo.data.samples import read_samples
from emo.errors import DataError
from emo.experiments import probes, replies, trial
from emo.experiments.strength import Strength
from emo.model import likelihood
from emo.pipeline import run as room
from emo.pipeline.settings import RunSettings, divide, part, scenario_of

ARTIFACTS = (
    "run.json",
    "data.json",
    "reliability.json",
    "texts-discovery.jsonl",
    "verdicts-discovery.jsonl",
    "directions.safetensors",
    "scores.safetensors",
    "strength.json",
    "texts.jsonl",
    "verdicts.jsonl",
    "likelihoods.jsonl",
    "geometry.json",
    "summary.json",
    "report.html",
)


LABELLED = (
    ("anger", "I am livid, how dare they keep my deposit!"),
    ("happiness", "Hooray, what wonderful news, I am delighted!"),
    ("sadness", "My heart is heavy and I cannot stop crying."),
    ("neutral", "The parcel can be collected next week."),
)


def _arguments(folder: Path, *more: str) -> list[str]:
    data, test = str(bundled("sev.jsonl")), str(bundled("sev_test.jsonl"))
    model = str(bundled("demo-model"))
    return ["run", "--model", model, "--data", data, "--test-data", test, "--smoke",
            "--check", str(folder.parent / "labelled.jsonl"), "--device", "cpu", "--quiet",
            "-o", str(folder), *more]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    labelled = (folder.parent / "labelled.jsonl").open("w", encoding="utf-8")
    with labelled:
        for emotion, text in LABELLED:
            labelled.write(json.dumps({"text": text, "emotion": emotion}) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(_arguments(folder, "--json"))
    assert ended.value.code == 0
    return folder


def test_every_artifact_is_there(finished: Path) -> None:
    assert [name for name in ARTIFACTS if not (finished / name).is_file()] == []
    assert (finished / "store" / "emo-store.json").is_file()
    assert not list(finished.rglob(".lock"))


def test_the_summary_has_the_keys_of_the_interface(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert list(summary["methods"]) == ["baseline", "prompting", "steering", "random"]
    for method in summary["methods"].values():
        assert {"accuracy", "low", "high", "n", "unlabelled", "perplexity", "by"} <= method.keys()
        assert method["low"] <= method["accuracy"] <= method["high"]
        assert set(method["by"]["anger"]) == {"positive", "neutral", "negative"}
    assert summary["methods"]["prompting"]["n"] > 100
    judge = summary["judge"]
    assert judge["name"]
    assert 0.9 < judge["coverage"] <= 1
    # Measured on the texts of --check, not what the judge says of itself.
    assert judge["reliability"]["n"] == len(LABELLED)
    assert all(seconds >= 0 for seconds in summary["seconds"].values())


def test_the_demo_model_does_what_its_card_says(finished: Path) -> None:
    """On ten test scenarios; the card has the figures of all, with narrower intervals."""
    methods = json.loads((finished / "summary.json").read_text())["methods"]
    assert methods["prompting"]["accuracy"] > 0.85
    assert methods["baseline"]["neutral_share"] > 0.6
    assert methods["steering"]["low"] > methods["random"]["high"]


def test_nothing_in_the_folder_names_its_own_path(finished: Path) -> None:
    for path in finished.rglob("*.json*"):
        assert str(finished) not in path.read_text(encoding="utf-8"), path.name


def test_a_second_call_does_nothing_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> Strength:
        raise AssertionError("a finished stage ran again")

    for name in ("elicit_kept", "choose", "capture", "geometry", "likelihoods"):
        monkeypatch.setattr(room, name, never)
    before = (finished / "summary.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(_arguments(finished))
    assert ended.value.code == 0
    assert (finished / "summary.json").read_bytes() == before
    assert "report.html" in capsys.readouterr().out


def test_other_settings_in_the_same_folder_are_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(_arguments(finished, "--seed", "5"))
    assert ended.value.code == 6
    assert "seed was 0, now 5" in capsys.readouterr().err


def test_another_judge_behind_the_same_name_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emo.judge.linear.LinearJudge.name", "linear-other")
    with pytest.raises(SystemExit) as ended:
        main(_arguments(finished))
    assert ended.value.code == 6
    assert "judge.name was" in capsys.readouterr().err


def test_a_stage_that_was_interrupted_keeps_its_finished_rows(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = tmp_path / "run", []
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    for name in ("texts.jsonl", "verdicts.jsonl"):
        (folder / name).unlink()
    whole = replies.elicit

    def stopped(*arguments: Any, **options: Any) -> Any:
        asked.append((options["method"], len(options["existing"])))
        if options["method"] == "steering" and not options["existing"]:
            keep = options["on_rows"]

            def once(rows: Any) -> None:
                keep(rows)
                raise KeyboardInterrupt

            options["on_rows"] = once
        return whole(*arguments, **options)

    monkeypatch.setattr(replies, "elicit", stopped)
    for code in (130, 0):
        with pytest.raises(SystemExit) as ended:
            main(_arguments(folder))
        assert ended.value.code == code
    assert [n for method, n in asked if method == "baseline"] == [0, 30]
    assert asked[-2][0] == "steering"
    assert asked[-2][1] > 0
    for name in ("texts.jsonl", "verdicts.jsonl"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(
    ("place", "name", "artifact"),
    [
        (trial, "elicit", "strength.json"),
        (likelihood, "_sums", "likelihoods.jsonl"),
        (probes, "probe", "geometry.json"),
    ],
)
def test_a_stage_of_many_steps_goes_on_where_it_was_interrupted(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: ModuleType,
    name: str,
    artifact: str,
) -> None:
    folder, calls = tmp_path / "run", 0
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    whole = getattr(place, name)

    def steps(code: int, last: int) -> int:
        """Make the artifact again, interrupted after so many steps; returns how many it took."""
        nonlocal calls
        calls = 0

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if calls == last:
                raise KeyboardInterrupt
            calls += 1
            return whole(*arguments, **options)

        monkeypatch.setattr(place, name, counted)
        (folder / artifact).unlink(missing_ok=True)
        with pytest.raises(SystemExit) as ended:
            main(_arguments(folder))
        assert ended.value.code == code
        return calls

    in_all = steps(0, 1000)
    assert in_all > 2
    assert steps(130, 2) == 2
    kept = sorted(folder.glob("*.part"))[0]
    whole_rows = kept.read_text(encoding="utf-8")
    kept.write_text(whole_rows.splitlines()[0] + '\n{"id": "other"}\n', encoding="utf-8")
    assert steps(5, 1000) == 0
    kept.write_text(whole_rows, encoding="utf-8")
    assert steps(0, 1000) == in_all - 2
    assert (folder / artifact).read_bytes() == (finished / artifact).read_bytes()
    assert not list(folder.glob("*.part"))


def test_labelled_sentences_are_refused_with_the_way_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = str(bundled("small") / "baseline.jsonl")
    with pytest.raises(SystemExit) as ended:
        main(["run", "--model", "m", "--data", sentences, "-o", str(tmp_path / "run")])
    assert ended.value.code == 3
    assert "minus-neutral" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_split_keeps_scenarios_whole() -> None:
    discovery, test = divide(bundled("sev.jsonl"), None, RunSettings(seed=3))
    assert {scenario_of(s) for s in discovery}.isdisjoint(scenario_of(s) for s in test)
    assert len(discovery) + len(test) == 480
    again, _ = divide(bundled("sev.jsonl"), None, RunSettings(seed=3))
    other, _ = divide(bundled("sev.jsonl"), None, RunSettings(seed=4))
    assert again == discovery != other


def test_shared_texts_between_discovery_and_test_are_refused() -> None:
    with pytest.raises(DataError, match="480 samples of the test data"):
        divide(bundled("sev.jsonl"), bundled("sev.jsonl"), RunSettings())


def test_a_part_is_drawn_by_scenario() -> None:
    samples = read_samples(bundled("sev.jsonl"))
    drawn = part(samples, 7, seed=1)
    assert len(drawn) == 21
    assert len({scenario_of(sample) for sample in drawn}) == 7
    assert part(samples, None, seed=1) == samples


def test_verbs_say_in_one_line_what_they_do() -> None:
    from emo.cli import VERBS

    for verb in VERBS:
        loaded = command.get_command(None, verb)  # type: ignore[arg-type]
        assert loaded is not None
        assert (loaded.help or "").strip(), verb

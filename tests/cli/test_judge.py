"""``emo judge run`` and ``emo judge train``, by exit code, files and output."""

import json

import pytest
from judge_toys import chat_server, content, labelled_texts, text

from emo.cli import main
from emo.data.texts import read_verdicts, write_texts


@pytest.fixture
def emo(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def texts(tmp_path):
    replies = [
        text("I am livid about the rent receipt.", "anger"),
        text("The parcel can be collected next week.", "anger", sample="t-neutral"),
        text("", "anger", sample="u-neutral"),
        text("Hooray, that is wonderful news!"),
    ]
    write_texts(tmp_path / "texts.jsonl", replies)
    return tmp_path / "texts.jsonl"


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "labelled.jsonl"
    rows = [{"text": row.text, "emotion": row.emotion} for row in labelled_texts()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_blind_chat_judge_chooses_from_all_seven_whatever_the_targets(
    emo, texts, tmp_path, monkeypatch
):
    with chat_server(lambda request: content("anger")) as (url, seen):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
        code, _, _ = emo("judge", "run", texts, "--judge", "chat:m", "-o", tmp_path / "v.jsonl")
    assert code == 0
    asked = seen[0]["messages"][0]["content"]
    assert "anger, sadness, happiness, fear, surprise, disgust, neutral" in asked


def test_the_shipped_judge_writes_a_verdict_for_each_text(emo, texts, tmp_path):
    code, out, err = emo("judge", "run", texts, "-o", tmp_path / "v.jsonl")
    assert (code, out) == (0, "")
    verdicts = read_verdicts(tmp_path / "v.jsonl")
    assert [v.label for v in verdicts] == ["anger", "neutral", None, "happiness"]
    assert verdicts[2].unlabelled == "empty"
    words = " ".join(err.split())
    assert f"judge {verdicts[0].judge}: macro-F1 0.9" in words
    assert "labelled 75.0% of the texts; empty 1" in words
    assert "prompting: 50.0% as wanted (9.5% to 90.5%, n = 2)" in words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts.jsonl", "v.jsonl"]


def test_json_holds_the_judge_and_the_methods(emo, texts, tmp_path):
    code, out, err = emo("judge", "run", texts, "-o", tmp_path / "v", "--json", "--quiet")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["judge"]["coverage"] == 0.75
    assert found["judge"]["unlabelled"] == {"empty": 1}
    assert 0.9 < found["judge"]["reliability"]["macro_f1"] < 1
    assert found["methods"]["prompting"]["accuracy"] == 0.5
    assert found["methods"]["baseline"]["n"] == 1


def test_a_judge_can_be_trained_used_and_measured(emo, texts, labelled, tmp_path):
    code, _, err = emo("judge", "train", labelled, "-o", tmp_path / "judge")
    assert code == 0
    assert "on 120 labelled texts (5-fold cross-validation" in " ".join(err.split())
    check = tmp_path / "check.csv"
    check.write_text("text,emotion\nFurious!,anger\nSeated.,happiness\n", encoding="utf-8")
    spec = ["--judge", tmp_path / "judge", "--check", check, "--json"]
    code, out, _ = emo("judge", "run", texts, *spec, "-o", tmp_path / "v")
    found = json.loads(out)["judge"]
    assert (code, found["reliability"]["accuracy"]) == (0, 0.5)
    assert found["classes"] == ["anger", "happiness", "neutral"]


def test_training_twice_gives_the_same_bytes_and_json_the_record(emo, labelled, tmp_path):
    _, out, _ = emo("judge", "train", labelled, "-o", tmp_path / "a", "--json")
    emo("judge", "train", labelled, "-o", tmp_path / "b", "--quiet")
    for name in ("judge.json", "judge.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads(out)["trained_on"]["n"] == 120


def test_a_chat_judge_blind_and_named(emo, texts, tmp_path, monkeypatch):
    pytest.importorskip("openai")

    def answer(request):
        named = "yes or no" in request["messages"][0]["content"]
        return content("yes" if named else "anger")

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with chat_server(answer) as (url, seen):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        run = ["judge", "run", texts, "--judge", "chat:m"]
        blind = emo(*run, "-o", tmp_path / "blind")
        named = emo(*run, "--named", "-o", tmp_path / "named")
    assert (blind[0], named[0]) == (0, 0)
    assert len(seen) == 5
    assert [v.label for v in read_verdicts(tmp_path / "blind")] == ["anger", "anger", None, "anger"]
    reasons = [v.unlabelled for v in read_verdicts(tmp_path / "named")]
    assert reasons == [None, None, "empty", "no-target"]
    assert "reliability was not measured" in " ".join(named[2].split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--judge", "linaer"], 2, "did you mean 'linear'"),
        (["--named"], 2, "cannot be told the target"),
        (["--judge", "hf:"], 2, "needs a name"),
        (["--limit", "0"], 2, "--limit"),
        (["--check", "absent.jsonl"], 3, "absent.jsonl"),
    ],
)
def test_refusals_have_their_codes(emo, texts, tmp_path, arguments, code, words):
    found, _, err = emo("judge", "run", texts, *arguments, "-o", tmp_path / "v")
    assert found == code
    assert words in err
    assert err.count("error:") == 1
    assert "Traceback" not in err


def test_bad_inputs_have_their_codes(emo, tmp_path, labelled):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a"}\n', encoding="utf-8")
    assert emo("judge", "run", rows, "-o", tmp_path / "v")[0] == 3
    assert emo("judge", "run", tmp_path / "none", "-o", tmp_path / "v")[0] == 3
    assert emo("judge", "train", rows, "-o", tmp_path / "j")[0] == 3
    assert emo("judge", "train", labelled, "--seed", "-1", "-o", tmp_path / "j")[0] == 2
    assert emo("judge", "train", "-o", tmp_path / "j")[0] == 2
    few = tmp_path / "few.jsonl"
    few.write_text(
        "".join(f'{{"text": "T{i} x.", "emotion": "e{i % 2}"}}\n' for i in range(6)),
        encoding="utf-8",
    )
    assert emo("judge", "train", few, "-o", tmp_path / "j")[0] == 9
    assert emo("judge", "train", labelled, "-o", few)[0] == 2


def test_a_damaged_judge_is_an_artifact_error(emo, texts, labelled, tmp_path):
    emo("judge", "train", labelled, "-o", tmp_path / "judge")
    (tmp_path / "judge" / "judge.safetensors").write_bytes(b"x")
    code, _, err = emo("judge", "run", texts, "--judge", tmp_path / "judge", "-o", tmp_path / "v")
    assert code == 5
    assert "is not the file" in err

"""Every rule has a case that keeps it and a case that breaks it."""

import json

import pytest

from emo.data.bundle import bundled
from emo.data.findings import RULES
from emo.data.sev_rules import balance_problem, sentence_problem
from emo.data.validate import validate, validate_sev
from emo.errors import DataError

RECORDS = [json.loads(line) for line in bundled("sev.jsonl").read_text("utf-8").splitlines()[:6]]
SCENARIO = "On the ninth morning my aunt opened the green gate and let eleven geese into the yard"


def record(**change):
    base = {
        "skeleton_id": "farm-01",
        "theme": "farm",
        "scenario": f"{SCENARIO}.",
        "event": {
            "positive": "They laid two eggs beside the well before noon.",
            "neutral": "Each bird drank a little water from a bucket.",
            "negative": "A fox dragged seven of them under the hedge.",
        },
    }
    return base | change


def sentences():
    texts = {"anger": ["I am furious at Tom.", "This enrages me, again."],
             "neutral": ["The bus leaves at nine.", "Paper lies on a desk."]}  # fmt: skip
    rows = []
    for emotion, group in texts.items():
        for i, text in enumerate(group):
            spans = [[5, 12]] if emotion == "anger" else []
            rows.append({"id": f"{emotion}-{i}", "emotion": emotion, "text": text, "spans": spans})
    return rows


def written(tmp_path, rows, name="data.jsonl"):
    path = tmp_path / name
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def found(tmp_path, rows, **options):
    findings = validate([written(tmp_path, rows)], **options).found
    assert all(finding.rule in RULES for finding in findings)
    return [(finding.rule, finding.line) for finding in findings]


def test_the_bundled_sets_keep_every_rule_together():
    findings = validate_sev([bundled("sev.jsonl"), bundled("sev_test.jsonl")])
    assert findings.found == ()
    assert (findings.n_rows, findings.n_texts, findings.min_words) == (320, 1280, 2500)
    assert findings.n_words >= 2500


def test_one_clean_record_is_clean(tmp_path):
    assert found(tmp_path, [*RECORDS, record()]) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("length", {"scenario": "On the ninth morning my aunt opened the green gate."}),
        ("length", {"scenario": f"{SCENARIO} and nine ducks and ten hens and one very old goat."}),
        ("sentence", {"scenario": SCENARIO.replace(" and let", ". She let") + "."}),
        ("sentence", {"scenario": SCENARIO}),
        ("person", {"scenario": SCENARIO.replace("my", "the") + "."}),
        ("events", {"event": record()["event"] | {"neutral": "They drank."}}),
        ("emotion-word", {"scenario": SCENARIO.replace("green", "Dreadful") + "."}),
        (
            "emotion-word",
            {"event": record()["event"] | {"negative": "A fox tore the sad-eyed leader to bits."}},
        ),
        ("schema", {"theme": None}),
        ("schema", {"event": record()["event"] | {"mixed": "They slept."}}),
        ("schema", {"event": "They slept."}),
        ("schema", {"scenario": ""}),
        ("schema", {"skeleton_id": ""}),
    ],
)
def test_a_record_that_breaks_one_rule_is_found_by_it(tmp_path, rule, change):
    assert found(tmp_path, [RECORDS[0], record(**change)]) == [(rule, 2)]


def test_fifteen_and_twenty_five_words_are_within_the_bounds(tmp_path):
    assert len(SCENARIO.split()) == 17
    shortest = SCENARIO.removesuffix(" the yard") + "."
    longest = f"{SCENARIO} and ducks and hens and one old goat."
    for scenario, n in ((shortest, 15), (longest, 25)):
        assert len(scenario.split()) == n
        assert found(tmp_path, [record(scenario=scenario)]) == []


def test_event_lengths_may_lie_exactly_a_fifth_from_their_mean():
    def events(*lengths):
        return ["word " * n for n in lengths]

    assert balance_problem(events(8, 10, 12)) is None
    assert balance_problem(events(7, 10, 13)) is not None
    assert balance_problem(events(8, 10, 13)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "At 9 a.m. Mr. Lee called me.",
        "I asked Prof. J. R. Ortiz for No. 5!",
        'The guard said "stop" and I stopped.',
        '"Stop!" she said, and I stopped.',
        "I waited ... and waited.",
        "I paid 3.50 euros?",
        "My map said “turn left.”",
    ],
)
def test_abbreviations_and_quotes_do_not_end_a_sentence(text):
    assert sentence_problem(text) is None


@pytest.mark.parametrize("text", ["I sat. He stood.", "I sat! 9 men stood.", "I sat.” “He stood."])
def test_two_sentences_are_two(text):
    assert "2 sentences" in sentence_problem(text)


def test_ids_are_unique_over_files(tmp_path):
    first = written(tmp_path, [RECORDS[0]], "a.jsonl")
    twin = record(skeleton_id=RECORDS[0]["skeleton_id"])
    second = written(tmp_path, [RECORDS[1], twin], "b.jsonl")
    [finding] = validate([first, second]).found
    assert (finding.rule, finding.file, finding.line) == ("id", str(second), 2)
    assert finding.id == RECORDS[0]["skeleton_id"]
    assert f"{first}:1" in finding.what


def test_duplicates_are_found_over_files_and_kinds_of_text(tmp_path):
    said = record()["event"]["neutral"].upper()
    other = RECORDS[0]["event"] | {"neutral": said, "positive": RECORDS[0]["event"]["neutral"]}
    first = written(tmp_path, [record()], "a.jsonl")
    second = written(tmp_path, [RECORDS[0] | {"event": other}], "b.jsonl")
    rules = [finding.rule for finding in validate_sev([first, second]).found]
    assert rules.count("duplicate") == 1
    assert "near-duplicate" not in rules


@pytest.mark.parametrize("text", ["मैंने आज रोटी खाई।", "🙂 🙂", "ΈΦΑΓΑ ψωμί"])
def test_a_text_said_twice_is_found_in_any_script(tmp_path, text):
    rows = [
        {"id": "a", "text": text},
        {"id": "b", "text": f" {text.lower()}"},
        {"id": "c", "text": "🙁"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    [finding] = validate([path]).found
    assert (finding.rule, finding.line) == ("duplicate", 2)


def test_near_duplicates_share_more_than_four_fifths_of_their_words(tmp_path):
    words = SCENARIO.split()
    assert len(set(words)) == 15
    nearly = " ".join(["At", *words[1:]])
    assert found(tmp_path, [record(), RECORDS[0] | {"scenario": f"{nearly}."}]) == [
        ("near-duplicate", 2)
    ]
    less = " ".join(["At", "that", "sixth", *words[3:]])
    assert found(tmp_path, [record(), RECORDS[0] | {"scenario": f"{less}."}]) == []


def test_thirty_texts_may_share_an_opening(tmp_path):
    def opened(n):
        rows = []
        for i in range(n):
            names = [f"{word}{i}" for word in ("pear", "plum", "fig", "kiwi", "lime", "nut")]
            event = {
                valence: " ".join([valence, *names, valence[::-1]]) + "."
                for valence in ("positive", "neutral", "negative")
            }
            scenario = f"On my way {' '.join(names * 2)}."
            rows.append({"skeleton_id": f"w{i}", "theme": "t", "scenario": scenario,
                         "event": event})  # fmt: skip
        return rows

    assert found(tmp_path, opened(30)) == []
    assert found(tmp_path, opened(31)) == [("opening", 31)]


def test_the_vocabulary_rule_holds_when_asked_and_for_the_bundled_pair(tmp_path):
    path = written(tmp_path, RECORDS)
    assert validate([path]).min_words is None
    n = validate([path]).n_words
    assert validate([path], min_words=n).found == ()
    [finding] = validate([path], min_words=n + 1).found
    assert finding.rule == "vocabulary"
    assert validate([bundled("sev.jsonl")]).min_words is None


def test_unreadable_lines_are_named_and_the_others_checked(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(
        b'{"skeleton_id": \n\n{"skeleton_id": "\xe9"}\n'
        + json.dumps(record(theme=None)).encode()
        + b'\n{"id": "a", "text": "One."}\n'
    )
    findings = validate_sev([path]).found
    assert [(finding.rule, finding.line) for finding in findings] == [
        ("schema", 1), ("encoding", 3), ("schema", 4), ("schema", 5),
    ]  # fmt: skip


def test_a_missing_or_empty_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        validate([tmp_path / "absent.jsonl"])
    with pytest.raises(DataError, match="holds no rows"):
        validate([written(tmp_path, [])])
    with pytest.raises(DataError, match="generated texts"):
        validate([written(tmp_path, [{"id": "a", "reply": "No."}])])


def test_clean_sentences_are_clean(tmp_path):
    assert found(tmp_path, sentences()) == []


def test_spans_of_a_scenario_with_one_event_count_from_its_beginning(tmp_path):
    row = {"id": "a", "emotion": "anger", "scenario": "I sat.", "event": "He sat."}
    assert found(tmp_path, [row | {"spans": [[7, 9]]}]) == []
    assert found(tmp_path, [row | {"spans": [[7, 15]]}]) == [("spans", 1)]


def test_a_set_without_spans_or_emotions_is_not_asked_for_them(tmp_path):
    rows = [{key: row[key] for key in ("id", "emotion", "text")} for row in sentences()]
    assert found(tmp_path, rows) == []
    assert found(tmp_path, [{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}]) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("id", {"id": "anger-0"}),
        ("duplicate", {"text": "I AM furious, at Tom!"}),
        ("near-duplicate", {"text": "At Tom I am furious."}),
        ("spans", {"spans": []}),
        ("spans", {"spans": None}),
        ("spans", {"spans": [[5, 99]]}),
        ("spans", {"spans": [[4, 5]]}),
        ("spans", {"spans": [[5, 5]]}),
        ("spans", {"spans": "all"}),
        ("schema", {"text": ""}),
        ("schema", {"id": None}),
        ("schema", {"emotion": 3}),
        ("schema", {"skeleton_id": "w", "event": {}}),
    ],
)
def test_a_sentence_that_breaks_one_rule_is_found_by_it(tmp_path, rule, change):
    rows = sentences()
    rows[1] |= change
    assert found(tmp_path, rows) == [(rule, 2)]


def test_the_emotions_of_sentences_are_reported_without_a_rule(tmp_path):
    rows = sentences()[:3]
    path = written(tmp_path, rows)
    findings = validate([path])
    assert findings.found == ()
    anger, neutral = findings.classes
    assert (anger.file, anger.emotion, anger.n, anger.mean_words) == (str(path), "anger", 2, 4.5)
    assert anger.first_words == (("i", 1), ("this", 1))
    assert (neutral.emotion, neutral.n) == ("neutral", 1)
    assert validate([written(tmp_path, RECORDS)]).classes == ()


def test_findings_are_counted_by_rule_and_become_json(tmp_path):
    rows = [record(), RECORDS[0] | {"theme": ""}, record(theme=3)]
    findings = validate([written(tmp_path, rows)])
    assert findings.by_rule == {"schema": 2}
    told = json.loads(json.dumps(findings.to_json()))
    assert told["clean"] is False
    assert told["found"][0]["line"] == 2
    assert told["n_rows"] == 3

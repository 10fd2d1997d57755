"""Laws of near-duplicates, spans and rows: the fast way says what the plain way says."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from emo.data.duplicates import similar_earlier
from emo.data.rows import scan_rows
from emo.data.samples import Sample, sample_from_row
from emo.data.words import WORD, words

EXAMPLES = settings(max_examples=150, deadline=None)
TEXTS = st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=12), max_size=14)


def first_similar(texts, threshold):
    """Compare each text with every earlier one."""
    found = []
    for i, text in enumerate(texts):
        pairs = [(j, set(text), set(texts[j])) for j in range(i) if text and texts[j]]
        shares = [(j, len(a & b) / len(a | b)) for j, a, b in pairs]
        found.append(next((pair for pair in shares if pair[1] > threshold), None))
    return found


@EXAMPLES
@given(TEXTS, st.sampled_from([0.3, 0.5, 0.55, 0.8, 0.9]))
def test_the_index_finds_what_comparing_all_pairs_finds(texts, threshold):
    assert similar_earlier(texts, threshold=threshold) == first_similar(texts, threshold)


@EXAMPLES
@given(st.text(max_size=60))
def test_words_are_parts_of_the_text_in_order(text):
    position = 0
    for word in words(text):
        position = text.index(word, position) + len(word)
        assert WORD.fullmatch(word)


FIELD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@EXAMPLES
@given(st.data(), FIELD.filter(str.strip), st.none() | FIELD, st.none() | FIELD)
def test_a_sample_comes_back_from_its_row(data, text, emotion, theme):
    spans = data.draw(st.lists(st.tuples(*[st.integers(0, len(text))] * 2), max_size=3))
    ordered = tuple((a, b) for a, b in spans if a < b)
    sample = Sample("id", "g", emotion, None, None, theme, text, spans=ordered)
    row = json.loads(json.dumps(sample.to_row()))
    assert sample_from_row(row, "here") == sample


@EXAMPLES
@given(st.lists(st.dictionaries(FIELD, FIELD | st.integers() | st.none(), max_size=3), max_size=5))
def test_an_array_and_json_lines_hold_the_same_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    array, lines = folder / "a.json", folder / "b.jsonl"
    array.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    lines.write_text(text, encoding="utf-8")
    for path in (array, lines):
        assert [dict(row.fields) for row in scan_rows(path)] == rows


@EXAMPLES
@given(st.binary(max_size=200), st.sampled_from(["a.jsonl", "a.csv"]))
def test_no_bytes_break_the_scanner(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    for row in scan_rows(path):
        assert row.line >= 1
        assert row.problem is None or str(path) in str(row.problem)

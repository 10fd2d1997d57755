"""Check data files by the rules of their kind: records with events, or samples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emo.data import sev_rules
from emo.data.bundle import bundled
from emo.data.duplicates import similar_earlier, tokens_of
from emo.data.findings import MAX_SHARED_OPENING, ClassReport, Finding, Findings
from emo.data.rows import VALENCES, Row, files_of, scan_rows
from emo.data.samples import NEUTRAL, is_sev, samples_of, spans_of
from emo.data.stats import texts_of
from emo.data.words import bundled_lexicon, emotion_words, lowered, opening, words
from emo.errors import DataError, ResourceError

MIN_DIFFERENT_WORDS = 2500


def validate(paths: Sequence[Path], *, min_words: int | None = None) -> Findings:
    """Check data files, each by the rules of its kind, together for ids and duplicates.

    A file whose first readable row is a scenario-event-valence record is checked by the rules
    of those, any other by the rules of samples. Folders stand for their ``.jsonl`` files.

    Parameters
    ----------
    paths : sequence of Path
    min_words : int, optional
        Different words that the texts must have. Without it that rule holds only for the
        bundled pair ``sev.jsonl`` and ``sev_test.jsonl``, which must have 2,500.

    Raises
    ------
    DataError
        When a file is missing or has no rows.
    """
    return _validate([_read(file, None) for path in paths for file in files_of(path)], min_words)


def validate_sev(paths: Sequence[Path], *, min_words: int | None = None) -> Findings:
    """Check files of scenario-event-valence records; rows of another kind break the schema.

    See `validate` for the parameters.

    Raises
    ------
    DataError
        When a file is missing or has no rows.
    """
    return _validate([_read(file, True) for path in paths for file in files_of(path)], min_words)


def schema_problem(row: Row, *, sev: bool) -> DataError | None:
    """Why a row cannot serve as a record or sample; its spans have a rule of their own."""
    if row.problem is not None:
        return row.problem
    if sev != is_sev(row.fields):
        kind = "a scenario-event-valence record" if sev else "a sample like the first row"
        return DataError(f"{row.where}: not {kind}")
    try:
        samples_of({**row.fields, "spans": None}, row.where)
    except DataError as error:
        return error
    problem = sev_rules.schema_problem(row.fields) if sev else None
    return DataError(f"{row.where}: {problem}") if problem else None


def row_id(row: Row) -> str | None:
    """Id of a row as text; None when it has none."""
    name = row.fields.get("skeleton_id", row.fields.get("id"))
    return None if name is None else str(name)


@dataclass(frozen=True)
class _File:
    path: Path
    sev: bool
    good: tuple[Row, ...]
    bad: tuple[tuple[Row, DataError], ...]

    @property
    def texts(self) -> list[_Text]:
        return [_Text(row, name, text) for row in self.good for name, text in texts_of(row)]


@dataclass(frozen=True)
class _Text:
    row: Row
    name: str
    text: str


def _read(path: Path, sev: bool | None) -> _File:
    rows = list(scan_rows(path))
    if not rows:
        raise DataError(f"{path} holds no rows", hint="give a file with one JSON object a line")
    first = next((row.fields for row in rows if row.problem is None), {})
    if "reply" in first:
        raise DataError(f"{path} holds generated texts", hint="this checks data sets")
    kind = is_sev(first) if sev is None else sev
    problems = [(row, schema_problem(row, sev=kind)) for row in rows]
    good = tuple(row for row, problem in problems if problem is None)
    return _File(path, kind, good, tuple((row, bad) for row, bad in problems if bad is not None))


def _validate(files: Sequence[_File], min_words: int | None) -> Findings:
    paths = [file.path for file in files]
    if min_words is None and _hold_bundled_pair(paths):
        min_words = MIN_DIFFERENT_WORDS
    texts = [text for file in files for text in file.texts]
    different = {word for text in texts for word in lowered(text.text)}
    found = [finding for file in files for finding in _file_findings(file)]
    found += _id_findings([row for file in files for row in file.good])
    found += _duplicate_findings(texts)
    found += _opening_findings([text for file in files if file.sev for text in file.texts])
    if min_words is not None and len(different) < min_words:
        what = f"{len(different):,} different words over the files, not {min_words:,}"
        found.append(Finding("vocabulary", str(paths[-1]), 1, None, what))
    order = {str(path): index for index, path in enumerate(paths)}
    return Findings(
        found=tuple(sorted(found, key=lambda finding: (order[finding.file], finding.line))),
        files=tuple(order),
        n_rows=sum(len(file.good) + len(file.bad) for file in files),
        n_texts=len(texts),
        n_words=len(different),
        min_words=min_words,
        classes=tuple(report for file in files for report in _class_reports(file)),
    )


def _file_findings(file: _File) -> Iterator[Finding]:
    for row, problem in file.bad:
        yield _finding(row.rule, row, str(problem).removeprefix(f"{row.where}: "))
    if file.sev:
        for row in file.good:
            yield from _sev_findings(row)
    else:
        yield from _span_findings(file.good)


def _sev_findings(row: Row) -> Iterator[Finding]:
    texts = dict(texts_of(row))
    scenario = texts["scenario"]
    problems = {
        "length": sev_rules.length_problem(scenario),
        "sentence": sev_rules.sentence_problem(scenario),
        "person": sev_rules.person_problem(scenario),
        "events": sev_rules.balance_problem([row.fields["event"][v] for v in VALENCES]),
    }
    for rule, problem in problems.items():
        if problem is not None:
            yield _finding(rule, row, problem)
    for name, text in texts.items():
        named = emotion_words(text, bundled_lexicon())
        if named:
            yield _finding("emotion-word", row, f"the {name} holds {', '.join(named)}")


def _span_findings(rows: Sequence[Row]) -> Iterator[Finding]:
    if not any(row.fields.get("spans") for row in rows):
        return
    for row in rows:
        [sample] = samples_of({**row.fields, "spans": None}, row.where)
        text, emotion = sample.content, sample.emotion
        try:
            spans = spans_of(row.fields.get("spans"), row.where)
        except DataError as error:
            yield _finding("spans", row, str(error).removeprefix(f"{row.where}: "))
            continue
        if emotion not in (None, NEUTRAL) and not spans:
            yield _finding("spans", row, f"a sentence of {emotion} without a span")
        for start, end in spans:
            if end > len(text):
                what = f"the span [{start}, {end}) ends behind the text of {len(text)} characters"
                yield _finding("spans", row, what)
            elif not words(text[start:end]):
                yield _finding("spans", row, f"the span [{start}, {end}) holds no word")


def _class_reports(file: _File) -> Iterator[ClassReport]:
    texts: dict[str, list[str]] = defaultdict(list)
    for text in file.texts:
        emotion = text.row.fields.get("emotion")
        if emotion and not file.sev:
            texts[emotion].append(text.text)
    for emotion, found in texts.items():
        mean = sum(len(words(text)) for text in found) / len(found)
        first = Counter(word for text in found if (word := opening(text, 1)) is not None)
        top = tuple(first.most_common(3))
        yield ClassReport(str(file.path), emotion, len(found), mean, top)


def _id_findings(rows: Sequence[Row]) -> Iterator[Finding]:
    first: dict[str | None, Row] = {}
    for row in rows:
        other = first.setdefault(row_id(row), row)
        if other is not row:
            yield _finding("id", row, f"the id is taken by {other.path}:{other.line}")


def _duplicate_findings(texts: Sequence[_Text]) -> Iterator[Finding]:
    tokens = [tokens_of(text.text) for text in texts]
    for index, near in enumerate(similar_earlier(tokens)):
        if near is None:
            continue
        other, share = near
        same = tokens[index] == tokens[other]
        shared = "says the same as" if same else f"shares {share:.0%} of its words with"
        row, earlier = texts[index].row, texts[other].row
        place = f"the {texts[other].name} of {row_id(earlier)} ({earlier.path}:{earlier.line})"
        rule = "duplicate" if same else "near-duplicate"
        yield _finding(rule, row, f"the {texts[index].name} {shared} {place}")


def _opening_findings(texts: Sequence[_Text]) -> Iterator[Finding]:
    holders: dict[str, list[_Text]] = defaultdict(list)
    for text in texts:
        first = opening(text.text)
        if first is not None:
            holders[first].append(text)
    for first, found in holders.items():
        if len(found) > MAX_SHARED_OPENING:
            what = f"{len(found)} texts begin with {first!r}, not at most {MAX_SHARED_OPENING}"
            yield _finding("opening", found[MAX_SHARED_OPENING].row, what)


def _finding(rule: str, row: Row, what: str) -> Finding:
    return Finding(rule, str(row.path), row.line, row_id(row), what)


def _hold_bundled_pair(paths: Sequence[Path]) -> bool:
    try:
        pair = {bundled(name).resolve() for name in ("sev.jsonl", "sev_test.jsonl")}
    except ResourceError:
        return False
    return pair <= {path.resolve() for path in paths}

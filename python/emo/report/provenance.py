"""What the numbers rest on: data, judge, model, options, versions, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emo.data.texts import Verdict
from emo.report.charts import Bar, BarGroup, Frame, bar_chart
from emo.report.folder import Run
from emo.report.markup import Markup, join, tag
from emo.report.methods import ORDER, method_name
from emo.report.tables import Row, figure, missing, pairs, paragraph, table
from emo.report.wording import NONE, counted, cut, percent, seconds, short

_MAX_ROWS, _MAX_VALUE = 60, 300
_MEASURES = {"n": "labelled texts", "macro_f1": "macro-F1"}


def data_section(run: Run) -> Markup:
    """Sizes, themes, valences and lengths of the data sets."""
    if run.data is None:
        return missing("the statistics of the data", "data.json")
    sets = {name: stats for name, stats in run.data.items() if isinstance(stats, Mapping)}
    if not sets:
        return paragraph("No statistics were recorded.")
    head = ("", *sets)
    sizes = [
        Row((name, *(_count(stats, name) for stats in sets.values())), "group")
        for name in ("scenarios", "samples")
        if any(name in stats for stats in sets.values())
    ]
    tables = [
        table("Samples by valence", head, [*sizes, *_counts(sets, "valences")]),
        *(table("Samples by theme", head, rows) for rows in [_counts(sets, "themes")] if rows),
        *(table("Words of a sample", head, rows) for rows in [_words(sets)] if rows),
    ]
    return tag("div", *tables, class_="panels thirds")


def _count(stats: Mapping[str, Any], name: str) -> str:
    value = stats.get(name)
    return f"{value:,}" if isinstance(value, int) else NONE


def _counts(sets: Mapping[str, Mapping[str, Any]], field: str) -> list[Row]:
    found = {name: stats.get(field) or {} for name, stats in sets.items()}
    names = list(dict.fromkeys(key for counts in found.values() for key in counts))
    if not names:
        return []
    shown = names[:_MAX_ROWS]
    rows = [Row((name, *(_count(counts, name) for counts in found.values()))) for name in shown]
    if len(names) > len(shown):
        rows.append(Row((f"and {len(names) - len(shown)} more", *("" for _ in sets))))
    return rows


def _words(sets: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    found = [stats.get("words") or {} for stats in sets.values()]
    names = {
        "mean": "mean",
        "min": "shortest",
        "max": "longest",
        "different": "different, in all samples",
    }
    return [
        Row((word, *(_amount(counts.get(name)) for counts in found)))
        for name, word in names.items()
        if any(name in counts for counts in found)
    ]


def _amount(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1f}" if isinstance(value, float) else NONE


def judge_section(run: Run) -> Markup:
    """Judge, what is known of its reliability, and what it could not label."""
    parts = [_reliability(run), _coverage(run.verdicts)]
    return join(parts)


def _reliability(run: Run) -> Markup:
    if run.summary is None:
        return missing("the judge and its reliability", "summary.json")
    judge = run.summary.judge
    name = tag("b", str(judge.get("name") or "unnamed"))
    known = judge.get("reliability")
    if not isinstance(known, Mapping) or not known:
        return paragraph(
            "Judge: ",
            name,
            ". Nobody has measured how often it is right, so accuracies above "
            "compare methods under this judge and say little about levels.",
        )
    first = [
        paragraph(
            "Judge: ",
            name,
            ". Its agreement with labelled texts is printed below; texts from "
            "another source than those are usually judged less well.",
        ),
        pairs(
            [
                (_MEASURES.get(key, key.replace("_", " ")), _value(value))
                for key, value in _plain(known)
            ]
        ),
    ]
    return join([*first, _recall(known.get("recall"))])


def _plain(known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in known.items():
        if not isinstance(value, Mapping | list):
            yield str(key), value


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return short(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _recall(recall: Any) -> Markup:
    """How many texts of each class the judge found: bars without intervals."""
    if not isinstance(recall, Mapping) or not recall:
        return Markup()
    groups = []
    for name, share in recall.items():
        if isinstance(share, int | float):
            tip = f"{name}: {percent(share)}"
            bar = Bar(share, share, share, "m-other", percent(share, 0), tip)
            groups.append(BarGroup(str(name), (bar,)))
    if not groups:
        return Markup()
    words = "; ".join(group.bars[0].tip for group in groups)
    frame = Frame("recall", "Recall of the judge by class", words)
    chart = bar_chart(frame, groups, (0, 1), lambda x: f"{x:.0%}")
    note = "Share of labelled texts of each class that the judge recognised."
    return figure("Recall of the judge.", note, [chart])


def _coverage(verdicts: Sequence[Verdict] | None) -> Markup:
    if verdicts is None:
        return missing("how many replies the judge could label", "verdicts.jsonl")
    there = {verdict.method for verdict in verdicts}
    methods = [name for name in ORDER if name in there] + sorted(there - set(ORDER))
    rows = []
    for name in methods:
        mine = [verdict for verdict in verdicts if verdict.method == name]
        labelled = [verdict.label for verdict in mine if verdict.label is not None]
        neutral = sum(label == "neutral" for label in labelled)
        why = Counter(v.unlabelled for v in mine if v.unlabelled is not None).most_common(4)
        rows.append(
            (
                method_name(name),
                f"{len(mine):,}",
                percent(len(labelled) / len(mine)),
                percent(neutral / len(labelled)) if labelled else NONE,
                ", ".join(f"{reason} {n:,}" for reason, n in why) or "none",
            )
        )
    columns = ("method", "replies", "labelled", "of these neutral", "why not labelled")
    return table("Coverage: how many replies got a label", columns, rows, words=(4,))


def provenance_section(run: Run) -> Markup:
    """Model, data, options, versions, and the seconds of each stage."""
    configuration = run.configuration
    parts = []
    for name in ("model", "data", "options"):
        entries = list(_flat(configuration.get(name) or {}))
        if entries:
            parts += [tag("h3", name.capitalize()), pairs(entries)]
    rest = {
        name: value
        for name, value in configuration.items()
        if name not in ("model", "data", "options")
    }
    parts += [tag("h3", "Run"), pairs(list(_flat(rest)))] if rest else []
    return join([*parts, _times(run)])


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested objects with dotted names."""
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, _leaf(value)


def _leaf(value: Any) -> Markup:
    if value is None:
        return Markup(NONE)
    if isinstance(value, list):
        return tag("code", cut(", ".join(str(item) for item in value) or "none", _MAX_VALUE))
    words = str(value).lower() if isinstance(value, bool) else str(value)
    return tag("code", cut(words, _MAX_VALUE))


def _times(run: Run) -> Markup:
    if run.summary is None:
        return missing("the seconds of each stage", "summary.json")
    found = run.summary.seconds
    if not found:
        return Markup()
    total = sum(found.values())
    rows = [
        (name, seconds(value), percent(value / total if total else 0, 0))
        for name, value in found.items()
    ]
    rows.append(("all", seconds(total), ""))
    caption = f"Time of each of the {counted(len(found), 'stage')} on the machine of the run"
    return table(caption, ("stage", "time", "share"), rows)

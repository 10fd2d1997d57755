"""How often each method gave the wanted emotion, by emotion and valence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from emo.data.texts import Verdict
from emo.report.charts import Bar, BarGroup, Frame, Reference, bar_chart
from emo.report.compare import difference
from emo.report.folder import Run
from emo.report.heat import Axis, colour_key, heat_map
from emo.report.markup import Markup, join, tag
from emo.report.records import Method, Rate, Summary
from emo.report.tables import Row, figure, missing, paragraph, series_key, table
from emo.report.wording import (
    DASH,
    NARROW,
    NONE,
    counted,
    percent,
    percent_range,
    points,
    short,
)

NAMES = {
    "baseline": "no instruction",
    "prompting": "prompting",
    "steering": "steering",
    "random": "random vectors",
    "circuit": "circuit",
}
ORDER = ("prompting", "steering", "circuit", "random", "baseline")
_MARKS = {"above": " ▲", "below": " ▼", "open": ""}
_AIMED = ("prompting", "steering", "circuit")
_UNLABELLED = "no label"
_MAX_MATRICES, _MAX_CLASSES = 4, 12


def accuracy_section(run: Run) -> Markup:
    """Accuracy of every method, with intervals, beside its controls."""
    if run.summary is None:
        return missing("how often each method gave the wanted emotion", "summary.json")
    summary = run.summary
    parts = [
        _explanation(summary),
        _overall(summary),
        _charts(summary),
        _by_cell(summary),
        _confusions(run.verdicts, summary),
    ]
    return join(parts)


def _methods(summary: Summary) -> list[Method]:
    known = [summary.methods[name] for name in ORDER if name in summary.methods]
    return known + [m for name, m in summary.methods.items() if name not in ORDER]


def method_name(name: str) -> str:
    """Name of a method in words."""
    return NAMES.get(name, name)


def method_look(name: str) -> str:
    """Class that colours a method."""
    return f"m-{name}" if name in NAMES else "m-other"


def _explanation(summary: Summary) -> Markup:
    parts = [
        "Accuracy is the share of labelled replies that the judge gave the target emotion. ",
        "Intervals are Wilson 95 % intervals. ",
    ]
    if summary.chance is not None:
        n = len(summary.emotions)
        parts.append(
            f"A method whose replies ignore their target reaches at most 1/{n} = "
            f"{percent(summary.chance)} over all {n} emotions, whatever the judge prefers; for "
            "a single emotion compare with the random vectors, which share the judge's bias."
        )
    return paragraph(*parts)


def _overall(summary: Summary) -> Markup:
    random, baseline = summary.methods.get("random"), summary.methods.get("baseline")
    rows = []
    for method in _methods(summary):
        gain = difference(method.rate, random.rate) if random and method is not random else None
        versus = (
            f"{points(gain.value)} ({points(gain.low)} to {points(gain.high)})" if gain else NONE
        )
        perplexity, base = method.rate.perplexity, baseline and baseline.rate.perplexity
        ratio = f"× {short(perplexity / base, 3)}" if perplexity and base else NONE
        distinct, word = (method.quality.get(key) for key in ("distinct2", "takes_word"))
        rows.append(
            (
                tag("span", method_name(method.name), class_=f"name {method_look(method.name)}"),
                percent(method.rate.accuracy),
                _interval(method.rate),
                f"{method.rate.n:,}",
                f"{method.rate.unlabelled:,}",
                versus,
                short(perplexity),
                ratio,
                short(distinct) if isinstance(distinct, float | int) else NONE,
                percent(word) if isinstance(word, float | int) else NONE,
            )
        )
    columns = (
        "method", "accuracy", "95 %", "labelled", "no label", "minus random, points",
        "perplexity", "to baseline", "distinct-2", "takes the word",
    )  # fmt: skip
    note = _baseline_note(baseline)
    return join([table("All emotions and valences together", columns, rows), note])


def _baseline_note(baseline: Method | None) -> Markup:
    share = baseline.neutral_share if baseline else None
    words = (
        "“No instruction” is scored as if each emotion in turn had been its target, averaged"
        + (f"; the judge called {percent(share)} of these replies neutral" if share else "")
        + ". Distinct-2 is the share of different word pairs (low: repetitive); “takes the word” "
        "is the share of replies that use the emotion's own word."
    )
    return paragraph(words, look="note")


def _charts(summary: Summary) -> Markup:
    methods = _methods(summary)
    by_emotion = [(name, {"emotion": name}) for name in summary.emotions]
    by_valence: list[tuple[str, dict[str, str]]] = [("all", {})]
    by_valence += [(name, {"valence": name}) for name in summary.valences]
    chance = summary.chance
    level = Reference(chance, f"chance {percent(chance)}") if chance else None
    panels = [
        _bars("accuracy-emotion", "Accuracy by emotion", methods, by_emotion, None),
        _bars("accuracy-valence", "Accuracy by valence", methods, by_valence, level),
    ]
    key = series_key([(method_name(m.name), method_look(m.name), None) for m in methods])
    return figure(
        "Accuracy by emotion and by valence of the situation.",
        "Bars are shares of labelled replies, whiskers their 95 % intervals.",
        [panel for panel in panels if panel],
        key=key,
    )


def _bars(
    name: str,
    title: str,
    methods: Sequence[Method],
    groups: Sequence[tuple[str, dict[str, str]]],
    reference: Reference | None,
) -> Markup:
    made = []
    for label, where in groups:
        rates = [(method, method.of(**where)) for method in methods]
        made.append(
            BarGroup(label, tuple(_bar(label, m, rate) for m, rate in rates if rate is not None))
        )
    made = [group for group in made if group.bars]
    if not made:
        return Markup()
    words = "; ".join(
        f"{group.label}: " + ", ".join(bar.tip.partition(": ")[2] for bar in group.bars)
        for group in made
    )
    frame = Frame(name, title, words)
    return bar_chart(frame, made, (0, 1), lambda x: f"{x:.0%}", reference=reference)


def _bar(label: str, method: Method, rate: Rate) -> Bar:
    words = f"{method_name(method.name)} {percent(rate.accuracy)}"
    tip = f"{label}: {words} ({percent_range(rate.low, rate.high)}), n {rate.n}"
    written = percent(rate.accuracy, 0) if rate.accuracy is not None else "no label"
    return Bar(rate.accuracy, rate.low, rate.high, method_look(method.name), written, tip)


def _by_cell(summary: Summary) -> Markup:
    methods = [method for method in _methods(summary) if method.by]
    if not methods:
        return Markup()
    random = summary.methods.get("random")
    rows = []
    for emotion in summary.emotions:
        rows.append(_cells(emotion, methods, random, {"emotion": emotion}, "group"))
        rows += [
            _cells(valence, methods, random, {"emotion": emotion, "valence": valence}, "sub")
            for valence in summary.valences
        ]
    rows.append(_cells("all emotions", methods, random, {}, "group"))
    rows += [
        _cells(valence, methods, random, {"valence": valence}, "sub")
        for valence in summary.valences
    ]
    made = table(
        "Accuracy by emotion and valence, with 95 % intervals and labelled replies",
        ("", *(method_name(method.name) for method in methods)),
        rows,
    )
    note = (
        "▲ above and ▼ below the random vectors: the 95 % interval of the difference leaves out "
        "zero (Newcombe). Where there is no difference, one comparison in twenty is marked all the "
        "same."
        if random
        else "There is no random-vector control in this run."
    )
    return join([made, paragraph(note, look="note")])


def _cells(
    label: str,
    methods: Sequence[Method],
    random: Method | None,
    where: dict[str, str],
    look: str,
) -> Row:
    control = random.of(**where) if random else None
    cells: list[str] = [label]
    for method in methods:
        rate = method.of(**where)
        if rate is None or rate.accuracy is None:
            cells.append(NONE)
            continue
        gain = difference(rate, control) if method.name in _AIMED else None
        mark = _MARKS[gain.verdict] if gain else ""
        small = tag("small", f"{percent_range(rate.low, rate.high)}, n{NARROW}{rate.n}")
        cells.append(join([percent(rate.accuracy, 0), tag("b", mark, class_="mark"), " ", small]))
    return Row(tuple(cells), look)


def _interval(rate: Rate) -> str:
    if rate.accuracy is None:
        return NONE
    return f"{100 * rate.low:.1f}{DASH}{100 * rate.high:.1f}"


def _confusions(verdicts: Sequence[Verdict] | None, summary: Summary) -> Markup:
    """Target against judged label, one matrix for each method with targets."""
    if verdicts is None:
        return missing("which emotions were taken for which", "verdicts.jsonl")
    targets = summary.emotions
    methods = [m for m in _methods(summary) if m.name != "baseline"][:_MAX_MATRICES]
    panels = [
        panel for m in methods if (panel := _confusion(m.name, verdicts, targets)) is not None
    ]
    if not panels or len(targets) > _MAX_CLASSES:
        return Markup()
    return figure(
        "What the replies were judged as.",
        "Rows are the emotion wanted, columns the judge's label; a row sums to 100 %. A good "
        "method has its dark cells on the diagonal; a dark column is a judge's or model's habit.",
        panels,
        key=colour_key("0 %", "", "100 % of the row", signed=False),
        look="halves",
    )


def _confusion(method: str, verdicts: Sequence[Verdict], targets: Sequence[str]) -> Markup | None:
    mine = [v for v in verdicts if v.method == method and v.emotion in targets]
    if not mine:
        return None
    counts = Counter((v.emotion, v.label or _UNLABELLED) for v in mine)
    others = sorted({label for _, label in counts} - {*targets, _UNLABELLED})
    labels = [*targets, *others]
    if any(label == _UNLABELLED for _, label in counts):
        labels.append(_UNLABELLED)
    rows = [name for name in targets if any(counts[name, label] for label in labels)]
    table_of = np.array([[counts[row, label] for label in labels] for row in rows], np.float64)
    shares = table_of / table_of.sum(axis=1, keepdims=True)
    name = method_name(method)
    words = "; ".join(
        f"{row} mostly {labels[int(np.argmax(share))]} ({percent(float(share.max()), 0)})"
        for row, share in zip(rows, shares, strict=True)
    )
    frame = Frame(f"confusion-{method}", f"Judged labels, {name}", words)
    return heat_map(
        frame,
        shares,
        Axis(tuple(rows)),
        Axis(tuple(labels), "judged as"),
        1.0,
        width=440,
        cell_height=26,
        write=lambda x: f"{100 * x:.0f}" if x >= 0.005 else "",
        heading=f"{name}, {counted(len(mine), 'reply', 'replies')}",
    )

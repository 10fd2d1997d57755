"""How often each method gave the wanted emotion, by emotion and valence."""

from __future__ import annotations

from collections.abc import Sequence

from emo.report.charts import Bar, BarGroup, Frame, Reference, bar_chart
from emo.report.compare import difference
from emo.report.confusion import confusions
from emo.report.folder import Run
from emo.report.markup import Markup, join, tag
from emo.report.methods import ORDER, method_look, method_name
from emo.report.rates import Method, Rate, Summary
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

_MARKS = {"above": " ▲", "below": " ▼", "open": ""}
_AIMED = ("prompting", "steering", "circuit")
_MAX_EMOTIONS = 30


def accuracy_section(run: Run) -> Markup:
    """Accuracy of every method, with intervals, beside its controls."""
    if run.summary is None:
        return missing("how often each method gave the wanted emotion", "summary.json")
    summary = run.summary
    targeted = [m.name for m in _methods(summary) if m.name != "baseline"]
    parts = [
        _explanation(summary),
        _overall(summary),
        _charts(summary),
        _by_cell(summary),
        confusions(run.verdicts, targeted, summary.emotions),
    ]
    return join(parts)


def _methods(summary: Summary) -> list[Method]:
    known = [summary.methods[name] for name in ORDER if name in summary.methods]
    return known + [m for name, m in summary.methods.items() if name not in ORDER]


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
    if len(summary.emotions) > _MAX_EMOTIONS:
        parts.append(f" Of {len(summary.emotions)} emotions the first {_MAX_EMOTIONS} are shown.")
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
        "perplexity", "to baseline", "distinct-2", "takes a word",
    )  # fmt: skip
    made = table("All emotions and valences together", columns, rows)
    return join([made, paragraph(*_notes(summary), look="note")])


def _notes(summary: Summary) -> list[str]:
    baseline, prompting = summary.methods.get("baseline"), summary.methods.get("prompting")
    words = ["“Minus random” compares with the random vectors, with Newcombe's 95 % interval. "]
    if baseline is not None:
        share = baseline.neutral_share
        neutral = f"; {percent(share)} of these replies were judged neutral" if share else ""
        words.append(
            "“No instruction” is scored as if each emotion in turn had been its target, "
            f"averaged{neutral}. "
        )
    words.append(
        "Perplexity is that of the replies under the untouched model, after the prompt that names "
        "no emotion"
    )
    named = prompting.perplexity_named if prompting else None
    aside = f"; after the prompt that names it, prompting has {short(named)}" if named else ""
    words.append(f"{aside}. ")
    if any(method.quality for method in summary.methods.values()):
        words.append(
            "Distinct-2 is the share of different word pairs (low: repetitive); “takes a word” is "
            "the share of replies that use a content word of the situation (low: inattentive). "
        )
    n = summary.steering.get("scenarios")
    if isinstance(n, int):
        words.append(
            f"Steering and random vectors had {counted(n, 'scenario')} of the test data, drawn at "
            "random, the others all."
        )
    return words


def _charts(summary: Summary) -> Markup:
    methods = _methods(summary)
    by_emotion = [(name, {"emotion": name}) for name in summary.emotions[:_MAX_EMOTIONS]]
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
    for emotion in summary.emotions[:_MAX_EMOTIONS]:
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

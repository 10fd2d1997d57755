"""The neurons and heads that push most towards each emotion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emo.analysis.scores import LINEARISED, Scores, Unit
from emo.report.charts import Bar, BarGroup, Frame, bar_chart
from emo.report.folder import Run
from emo.report.heat import Axis, Outline, colour_key, heat_map, spaced
from emo.report.markup import Markup, join
from emo.report.tables import figure, folded, missing, paragraph, series_key, table
from emo.report.wording import listed, percent, short, signed

_BARS, _ROWS, _OUTLINED = 5, 10, 3
_MAX_EMOTIONS, _MAX_CELLS = 12, 30_000
_KINDS = ("neuron", "head")
_PLURAL = {"neuron": "neurons", "head": "heads"}


def units_section(run: Run) -> Markup:
    """Top neurons and heads of each emotion: bars, tables, and where the heads sit."""
    if run.scores is None:
        return missing("the scores of neurons and heads", "scores.safetensors")
    scores = run.scores
    shown = run.ordered(scores.labels)[:_MAX_EMOTIONS]
    kinds = [kind for kind in _KINDS if kind in scores.units]
    parts = [
        paragraph(
            "A unit's contribution is what it adds, on average over accepted samples, to the "
            "projection of the residual stream on the emotion's direction, in units of the "
            f"residual stream. Positive pushes towards the emotion; {_meaning(scores)} "
            "Contributions are measured where the directions "
            f"were made, at the position “{scores.position}”, so the same samples choose and "
            "measure the top units: values at the top are somewhat too large."
        ),
        _only(scores.labels, shown),
        _bars(scores, kinds, shown),
        _heads(scores, shown),
        *(_tables(scores, kind, shown) for kind in kinds),
    ]
    return join(parts)


def _meaning(scores: Scores) -> str:
    if scores.linearised:
        return f"they are {LINEARISED}."
    return "zeroing the unit would lower the projection by just this much."


def _only(labels: Sequence[str], shown: Sequence[str]) -> Markup:
    if len(labels) == len(shown):
        return Markup()
    return paragraph(f"Shown: the first {len(shown)} of {len(labels)} emotions.", look="note")


def _bars(scores: Scores, kinds: Sequence[str], emotions: Sequence[str]) -> Markup:
    top = {e: [u for kind in kinds for u in scores.top(_BARS, kind, e)] for e in emotions}
    every = [unit for units in top.values() for unit in units]
    low = min(0.0, *(min(unit.low, unit.mean) for unit in every))
    high = max(0.0, *(max(unit.high, unit.mean) for unit in every)) or 1.0
    alike = [BarGroup(_unit_name(unit), (_bar(unit),)) for unit in every]
    panels = []
    for i, emotion in enumerate(emotions):
        groups = [BarGroup(_unit_name(unit), (_bar(unit),)) for unit in top[emotion]]
        words = "; ".join(group.bars[0].tip for group in groups)
        frame = Frame(f"units-{i}", f"Top units for {emotion}", words)
        write = "{:g}".format
        panels.append(
            bar_chart(frame, groups, (low, high), write, width=300, heading=emotion, alike=alike)
        )
    names = [(_PLURAL[kind], f"u-{kind}", None) for kind in kinds]
    best = listed([f"{_BARS} {_PLURAL[kind]}" for kind in kinds])
    return figure(
        f"The {best} that push most towards each emotion.",
        "Mean contribution with its 95 % interval, one scale for all. L14 · 231 is unit 231 of "
        "layer 14, both counted from 0.",
        panels,
        key=series_key(names),
        look="thirds",
    )


def _unit_name(unit: Unit) -> str:
    return f"L{unit.layer} · {unit.unit}"


def _bar(unit: Unit) -> Bar:
    tip = (
        f"{unit.kind} {_unit_name(unit)}: {signed(unit.mean)} ({short(unit.low)} to "
        f"{short(unit.high)}), positive in {percent(unit.positive, 0)} of {unit.n}"
    )
    return Bar(unit.mean, unit.low, unit.high, f"u-{unit.kind}", signed(unit.mean), tip)


def _heads(scores: Scores, emotions: Sequence[str]) -> Markup:
    """Mean contribution of every head: heads down, layers across."""
    if "head" not in scores.units:
        return paragraph("No heads were scored in this run.", look="missing")
    found = scores.units["head"]
    shown = emotions[: max(_MAX_CELLS // max(found.mean[0].size, 1), 1)]
    top = float(np.quantile(np.abs(found.mean), 0.99)) or 1.0
    panels = []
    for i, emotion in enumerate(shown):
        values = found.mean[scores.labels.index(emotion)].T
        best = scores.top(_OUTLINED, "head", emotion)
        layers = tuple(str(layer) for layer in found.layers)
        heads = tuple(str(head) for head in range(values.shape[0]))
        panels.append(
            heat_map(
                Frame(f"heads-{i}", f"Heads for {emotion}", "; ".join(_bar(u).tip for u in best)),
                np.asarray(values, np.float64),
                Axis(spaced(heads, 8)),
                Axis(spaced(layers, 8), "layer"),
                top,
                width=300,
                cell_height=min(max(180 / len(heads), 3), 16),
                outlines=[Outline(u.unit, found.layers.index(u.layer), _bar(u).tip) for u in best],
                heading=emotion,
            )
        )
    only = f" Only {listed(shown)}, to keep this file small." if len(shown) < len(emotions) else ""
    return figure(
        "Every attention head.",
        "Columns are layers, rows are heads; the three largest are outlined. Colours are shared: "
        f"full colour is ±{short(top, 2)} or more.{only}",
        panels,
        key=colour_key("against the emotion", "", "towards it", signed=True),
        look="thirds",
    )


def _tables(scores: Scores, kind: str, emotions: Sequence[str]) -> Markup:
    rows = []
    for emotion in emotions:
        for unit in scores.top(_ROWS, kind, emotion):
            interval = f"{short(unit.low)} to {short(unit.high)}"
            rows.append(
                (
                    emotion,
                    str(unit.layer),
                    str(unit.unit),
                    signed(unit.mean),
                    interval,
                    short(unit.sd),
                    percent(unit.positive, 0),
                    str(unit.n),
                )
            )
    columns = ("emotion", "layer", kind, "mean", "95 %", "sd", "positive in", "samples")
    plural = _PLURAL[kind]
    made = table(f"Top {_ROWS} {plural} of each emotion by mean contribution", columns, rows)
    return folded(f"The top {_ROWS} {plural} of each emotion as a table", made)

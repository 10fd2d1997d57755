"""How the layers and the strength of steering were chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emo.report.charts import WIDTH, Frame
from emo.report.folder import Run
from emo.report.heat import Axis, Outline, colour_key, heat_map
from emo.report.markup import Markup, join, number, tag
from emo.report.records import Setting, Strength
from emo.report.svg import Scale, line, look_of, mark, picture, text, x_axis, y_axis
from emo.report.tables import Row, figure, folded, missing, paragraph, series_key, table
from emo.report.wording import (
    NONE,
    counted,
    layer_range,
    listed,
    percent,
    percent_range,
    plain,
    short,
)

_FARTHEST = 8  # end of the perplexity axis, in multiples of the limit
_MAX_SERIES, _MAX_CELLS, _MAX_ROWS = 12, 400, 200
_UNITS = {"norm": "the length |h| of the residual stream", "rms": "its root mean square RMS(h)"}
_POSITIONS = {"last": "last prompt token", "reply": "reply tokens"}


def strength_section(run: Run) -> Markup:
    """Accuracy against perplexity for every setting tried, the choice marked."""
    if run.strength is None:
        return missing("how the layers and the strength of steering were chosen", "strength.json")
    strength = run.strength
    parts = [_explanation(strength), _pictures(strength), _table(strength)]
    return join(parts)


def _explanation(strength: Strength) -> Markup:
    limit, base = strength.limit_ratio, strength.baseline_perplexity
    rule = (
        "Settings were compared on the discovery data only; the test data played no part. Where a "
        "strength broke the perplexity limit, larger ones were not tried. "
    )
    if strength.relative in _UNITS:
        rule += f"The strength α counts in multiples of {_UNITS[strength.relative]}. "
    if limit is not None and base is not None:
        rule += (
            f"The setting with the highest accuracy counts whose perplexity stays within "
            f"{plain(limit)} times that of unsteered replies ({short(base)}, so at most "
            f"{short(base * limit)}), and under which random vectors of the same norm stay near "
            "unsteered replies. "
        )
    if strength.choice is not None:
        fair = (
            f" As the best of {counted(len(strength.grid), 'setting')} this accuracy flatters; "
            "the one on the test data is the fair one."
        )
        return paragraph(rule, tag("strong", f"Chosen: {_described(strength.choice)}"), fair)
    none = "No setting stayed within the limit, so there is no choice. "
    if strength.mildest is not None:
        none += f"The run went on with the mildest: {_described(strength.mildest)}"
    return paragraph(rule, tag("strong", none))


def _described(setting: Setting) -> str:
    where = f" from directions at the {_position(setting.position)}" if setting.position else ""
    rate = setting.rate
    among = f" ({percent_range(rate.low, rate.high)}, n {rate.n})" if rate else ""
    ratio = f" (× {short(setting.ratio)})." if setting.ratio is not None else "."
    if setting.control:
        ratio += f" Random vectors of the same norm: {percent(setting.control.accuracy)}."
    return (
        f"layers {layer_range(setting.layers)}, α = {plain(setting.alpha)}{where}; accuracy "
        f"{percent(setting.accuracy)}{among}, perplexity {short(setting.perplexity)}{ratio}"
    )


def _position(position: str) -> str:
    return _POSITIONS.get(position, position)


def _pictures(strength: Strength) -> Markup:
    places = list(dict.fromkeys(setting.layers for setting in strength.grid))
    positions = list(dict.fromkeys(setting.position for setting in strength.grid))
    cloud = _cloud(strength, places[:_MAX_SERIES], positions)
    maps = [_map(strength, i, position) for i, position in enumerate(positions[:2])]
    stack = tag("div", *maps, class_="stack") if any(maps) else None
    panels = [panel for panel in (cloud, stack) if panel is not None]
    if not panels:
        return Markup()
    entries: list[tuple[str, str, int | None]] = [
        (f"layers {layer_range(layers)}", look_of(i), 0)
        for i, layers in enumerate(places[:_MAX_SERIES])
    ]
    if len(positions) > 1:
        entries += [(_position(p), "m-other", i) for i, p in enumerate(positions)]
    shown = "" if len(places) <= _MAX_SERIES else f" The first {_MAX_SERIES} layer sets are drawn."
    note = (
        "In the scatter plot each mark is a setting and lines join growing strength α: up is more "
        "accurate, right is less fluent, the ring marks the setting used. The maps show the same "
        "accuracies in percent; struck-through numbers broke the perplexity limit."
        + (" Marks at the right edge lie beyond it." if _cut(strength) else "")
        + shown
    )
    return figure(
        "Accuracy against fluency.", note, panels, key=join([series_key(entries), _map_key()])
    )


def _map_key() -> Markup:
    return colour_key("accuracy 0 %", "", "100 %", signed=False)


def _cloud(
    strength: Strength, places: Sequence[tuple[int, ...]], positions: Sequence[str]
) -> Markup | None:
    measured = [s for s in strength.grid if s.accuracy is not None and s.perplexity]
    drawn = [s for s in measured if s.layers in places]
    if not drawn:
        return None
    across = _perplexity_scale(strength, [s.perplexity or 1 for s in drawn])
    top = max(s.accuracy or 0 for s in drawn)
    up = Scale(0, min(max(top * 1.15, 0.1), 1.0), 230, 26)
    parts = [
        y_axis(up, 44, WIDTH - 10, lambda v: f"{v:.0%}", title="accuracy"),
        x_axis(across, 26, 230, _tick, title="perplexity of the replies (log scale)"),
        _limits(strength, across),
    ]
    for i, layers in enumerate(places):
        for shape, position in enumerate(positions):
            row = [s for s in drawn if s.layers == layers and s.position == position]
            parts.append(_path(sorted(row, key=lambda s: s.alpha), across, up, i, shape))
    if strength.used is not None:
        words = "chosen" if strength.choice else "mildest"
        parts.append(_ring(strength.used, words, across, up))
    words = _words(drawn, strength.choice)
    return picture("strength-cloud", "Accuracy against perplexity", words, (WIDTH, 268), *parts)


def _tick(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"


def _perplexity_scale(strength: Strength, found: Sequence[float]) -> Scale:
    """Log scale that keeps to the region around the limit; what lies beyond sits at its end."""
    marks = [*found]
    if strength.baseline_perplexity:
        marks.append(strength.baseline_perplexity)
        if strength.limit_ratio:
            end = strength.baseline_perplexity * strength.limit_ratio
            marks = [min(value, end * _FARTHEST) for value in marks] + [end]
    low, high = max(min(marks), 1e-6), max(marks)
    return Scale(low / 1.15, high * 1.25, 50, WIDTH - 14, log=True)


def _cut(strength: Strength) -> bool:
    """Whether a setting lies beyond the end of the perplexity axis."""
    end = (strength.baseline_perplexity or 0) * (strength.limit_ratio or 0) * _FARTHEST * 1.25
    return end > 0 and any((setting.perplexity or 0) > end for setting in strength.grid)


def _limits(strength: Strength, across: Scale) -> Markup:
    base, ratio = strength.baseline_perplexity, strength.limit_ratio
    if not base:
        return Markup()
    x = across(base)
    parts = [line(x, 26, x, 230, "reference"), text(x + 4, 222, "unsteered", "note")]
    if ratio:
        end = across(base * ratio)
        parts += [
            tag("rect", x=end, y=26, width=max(across.stop + 6 - end, 0), height=204,
                class_="beyond"),
            line(end, 26, end, 230, "reference"),
            text(end - 4, 222, f"limit × {plain(ratio)}", "note", "end"),
        ]  # fmt: skip
    return join(parts)


def _path(row: Sequence[Setting], across: Scale, up: Scale, i: int, shape: int) -> Markup:
    if not row:
        return Markup()
    places = [(min(across(s.perplexity or 1), across.stop), up(s.accuracy or 0)) for s in row]
    d = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places)
    dots = [
        tag(
            "path",
            tag("title", _tip(s)),
            d=mark(shape, x, y, 3.2),
            class_=f"dot {look_of(i)}",
        )
        for s, (x, y) in zip(row, places, strict=True)
    ]
    return join([tag("path", d=d, class_=f"line thin {look_of(i)}"), *dots])


def _tip(setting: Setting) -> str:
    where = f", {_position(setting.position)}" if setting.position else ""
    return (
        f"layers {layer_range(setting.layers)}, α {plain(setting.alpha)}{where}: accuracy "
        f"{percent(setting.accuracy)}, perplexity {short(setting.perplexity)}"
    )


def _ring(used: Setting, words: str, across: Scale, up: Scale) -> Markup:
    if used.accuracy is None or not used.perplexity:
        return Markup()
    x, y = min(across(used.perplexity), across.stop), up(used.accuracy)
    # The better settings lie up and left, where few marks stand in the way.
    left = x - across.start > 110
    words = f"{words}: α {plain(used.alpha)}"
    return join(
        [
            tag("circle", cx=x, cy=y, r=8, class_="ring"),
            text(x + (-10 if left else 12), y - 9, words, "strong", "end" if left else None),
        ]
    )


def _words(drawn: Sequence[Setting], choice: Setting | None) -> str:
    best = max(drawn, key=lambda s: s.accuracy or 0)
    words = f"{len(drawn)} settings. The most accurate: {_tip(best)}."
    return words + (f" Chosen: {_tip(choice)}." if choice else " None chosen.")


def _map(strength: Strength, i: int, position: str) -> Markup | None:
    """Accuracy of each layer set (row) at each alpha (column)."""
    rows = [s for s in strength.grid if s.position == position]
    places = list(dict.fromkeys(s.layers for s in rows))
    alphas = sorted({s.alpha for s in rows})
    if not rows or len(places) * len(alphas) > _MAX_CELLS or len(alphas) > 16:
        return None
    values = np.full((len(places), len(alphas)), np.nan)
    for s in rows:
        if s.accuracy is not None:
            values[places.index(s.layers), alphas.index(s.alpha)] = s.accuracy
    words = listed([_tip(s) for s in rows if s.accuracy is not None][:40])
    title = f"Accuracy by layers and strength, {_position(position)}"
    return heat_map(
        Frame(f"strength-map-{i}", title, words),
        values,
        Axis(tuple(f"L{layer_range(layers)}" for layers in places)),
        Axis(tuple(plain(alpha) for alpha in alphas), "strength α"),
        1.0,
        width=WIDTH,
        cell_height=28,
        write=lambda x: f"{100 * x:.0f}",
        heading=f"directions at the {_position(position)}" if position else "accuracy, %",
        struck=[
            (places.index(s.layers), alphas.index(s.alpha)) for s in rows if _beyond(s, strength)
        ],
        outlines=_outlines(strength.used, places, alphas, position),
    )


def _outlines(
    choice: Setting | None,
    places: Sequence[tuple[int, ...]],
    alphas: Sequence[float],
    position: str,
) -> list[Outline]:
    if choice is None or (choice.position, choice.layers in places) != (position, True):
        return []
    if choice.alpha not in alphas:
        return []
    return [Outline(places.index(choice.layers), alphas.index(choice.alpha), "the setting used")]


def _beyond(setting: Setting, strength: Strength) -> bool:
    """Whether a setting breaks the perplexity limit."""
    ratio = setting.ratio
    if ratio is None and setting.perplexity and strength.baseline_perplexity:
        ratio = setting.perplexity / strength.baseline_perplexity
    return ratio is not None and strength.limit_ratio is not None and ratio > strength.limit_ratio


def _table(strength: Strength) -> Markup:
    rows = []
    for s in sorted(strength.grid, key=lambda s: -(s.accuracy or 0))[:_MAX_ROWS]:
        chosen = strength.used is not None and s.key == strength.used.key
        state = ["used"] if chosen else []
        state += ["beyond the limit"] if _beyond(s, strength) else []
        cells = (
            layer_range(s.layers),
            plain(s.alpha),
            _position(s.position) or NONE,
            percent(s.accuracy),
            percent_range(s.rate.low, s.rate.high) if s.rate else NONE,
            percent(s.control.accuracy) if s.control else NONE,
            short(s.perplexity),
            f"× {short(s.ratio)}" if s.ratio is not None else NONE,
            ", ".join(state),
        )
        rows.append(Row(cells, "group" if chosen else None))
    columns: tuple[str, ...] = ("layers", "α", "directions at", "accuracy", "95 %")
    columns += ("random vectors", "perplexity", "to unsteered", "")
    made = table("Settings, most accurate first", columns, rows, words=(2, 8))
    return folded(f"{len(rows)} of {len(strength.grid)} settings as a table", made)

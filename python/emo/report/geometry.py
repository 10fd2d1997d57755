"""Where in the model emotions come apart: components, probes, directions across sublayers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from emo.analysis.directions import Directions
from emo.report.charts import Cloud, Frame, Line, line_chart, scatter
from emo.report.finding import best_layer
from emo.report.folder import Run
from emo.report.heat import Axis, colour_key, heat_map, spaced
from emo.report.layers import layers_figures
from emo.report.markup import Markup, join, tag
from emo.report.records import Geometry, Layer
from emo.report.svg import look_of
from emo.report.tables import (
    emotion_key,
    figure,
    folded,
    missing,
    paragraph,
    series_key,
    table,
)
from emo.report.wording import NONE, counted, percent, short
from emo.sites import Site

_MAX_PANELS, _MAX_POINTS = 12, 3000
_MAX_EMOTIONS, _MAX_SUBLAYERS = 18, 120


def geometry_section(run: Run) -> Markup:
    """Components and probes by layer, length and agreement of the directions."""
    geometry = run.geometry
    if geometry is None:
        found = missing("components, probes and the agreement of sublayers", "geometry.json")
        return join([found, _directions(run), _side_by_side(_norms(run))])
    pictures = _side_by_side(_probes(geometry), _norms(run), _cosines(geometry))
    layers = layers_figures(geometry.similarity, geometry.overlap)
    table = _probe_table(geometry)
    return join([_components(geometry, run), _directions(run), pictures, layers, table])


def _side_by_side(*figures: Markup) -> Markup:
    return tag("div", *figures, class_="panels halves")


def _components(geometry: Geometry, run: Run) -> Markup:
    drawn = [layer for layer in geometry.layers if len(layer.labels)]
    if not drawn:
        return Markup()
    chosen = _evenly(drawn, _MAX_PANELS)
    found = {label for layer in chosen for label in layer.labels}
    looks = {name: run.look(name) for name in run.ordered(found)[:_MAX_EMOTIONS]}
    most = _MAX_POINTS // len(chosen)
    panels = [p for layer in chosen if (p := _panel(layer, looks, most, run.seed))]
    several = (
        f"{len(chosen)} of {len(drawn)} layers, evenly spaced. " if len(chosen) < len(drawn) else ""
    )
    thinned = any(len(layer.labels) > most for layer in chosen)
    some = (
        f"At most {most} points a picture, drawn at random (seed {run.seed}). " if thinned else ""
    )
    return figure(
        "The first two principal components, layer by layer.",
        f"{several}{some}One point for each sample, large marks are means. Only distances count: "
        "signs and rotation of components are arbitrary, and scales differ between pictures."
        f"{_chance_shares(chosen)}",
        panels,
        key=emotion_key(looks),
        look="small",
    )


def _chance_shares(layers: Sequence[Layer]) -> str:
    levels = [layer.null for layer in layers if layer.null is not None]
    if not levels:
        return ""
    ends = dict.fromkeys(percent(level, 0) for level in (min(levels), max(levels)))
    return (
        " Shares are of the variance; the first component of independent columns would explain "
        f"{' to '.join(ends)} (Marchenko-Pastur level)."
    )


def _evenly(layers: Sequence[Layer], most: int) -> list[Layer]:
    if len(layers) <= most:
        return list(layers)
    picks = np.unique(np.round(np.linspace(0, len(layers) - 1, most)).astype(int))
    return [layers[int(i)] for i in picks]


def _panel(layer: Layer, looks: Mapping[str, int], most: int, seed: int) -> Markup | None:
    labels, points = np.array(layer.labels), layer.points
    if len(labels) > most:
        keep = np.sort(np.random.default_rng([seed, layer.layer]).choice(len(labels), most, False))
        labels, points = labels[keep], points[keep]
    clouds = []
    for name, i in looks.items():
        mine = points[(labels == name) & np.isfinite(points).all(axis=1)]
        if len(mine):
            clouds.append(Cloud(look_of(i), i, tuple((float(x), float(y)) for x, y in mine)))
    if not clouds:
        return None
    shares = " + ".join(percent(share, 0) for share in layer.explained)
    title = f"Principal components of layer {layer.layer}"
    words = f"{counted(len(labels), 'point')} of {counted(len(clouds), 'emotion')}"
    heading = f"layer {layer.layer}" + (f" · {shares}" if shares else "")
    explained = f", explaining {shares} of the variance" if shares else ""
    if layer.null is not None:
        explained += f"; independent columns reach {percent(layer.null, 0)} in the first"
    return scatter(Frame(f"pca-{layer.layer}", title, words + explained), clouds, heading=heading)


def _probes(geometry: Geometry) -> Markup:
    probed = [layer for layer in geometry.layers if "f1" in layer.probe]
    best = best_layer(geometry.layers)
    if best is None:
        return Markup()
    tips = tuple(_probe_words(layer) for layer in probed)
    real = Line(
        "plain",
        tuple((layer.layer, layer.probe["f1"]) for layer in probed),
        tuple(
            (layer.layer, layer.probe["low"], layer.probe["high"])
            for layer in probed
            if "low" in layer.probe and "high" in layer.probe
        ),
        tips=tips,
    )
    control = tuple(
        (layer.layer, layer.probe["shuffled"]) for layer in probed if "shuffled" in layer.probe
    )
    lines = [real, *([Line("m-random", control, dashed=True, shape=1)] if control else [])]
    words = f"Best at {_probe_words(best)}. First: {tips[0]}. Last: {tips[-1]}."
    chart = line_chart(
        Frame("probe", "Macro-F1 of a linear probe by layer", words),
        lines,
        (0, 1),
        lambda x: f"{x:g}",
        axis="layer",
        value_axis="macro-F1",
    )
    key = series_key([("true labels, 95 % interval", "plain", 0),
                      *([("shuffled labels", "m-random", 1)] if control else [])])  # fmt: skip
    return figure(
        "How well a linear probe reads the emotion.",
        f"Held-out macro-F1, best at {_probe_words(best)}. That a probe can read an emotion does "
        "not show that the model uses it; steering tests that.",
        [chart],
        key=key,
    )


def _probe_table(geometry: Geometry) -> Markup:
    probed = [layer for layer in geometry.layers if "f1" in layer.probe]
    if not probed:
        return Markup()
    rows = [
        (str(layer.layer), *(short(layer.probe.get(k)) for k in ("f1", "low", "high", "shuffled")))
        for layer in probed
    ]
    columns = ("layer", "macro-F1", "low", "high", "shuffled labels")
    return folded("The probe as a table", table("Linear probe by layer", columns, rows))


def _probe_words(layer: Layer) -> str:
    f1, low, high = (layer.probe.get(name) for name in ("f1", "low", "high"))
    interval = f" ({short(low, 2)} to {short(high, 2)})" if low is not None else ""
    control = layer.probe.get("shuffled")
    against = f", shuffled {short(control, 2)}" if control is not None else ""
    return f"layer {layer.layer}: {short(f1, 2)}{interval}{against}"


def _directions(run: Run) -> Markup:
    if run.directions is None:
        return missing("the directions themselves", "directions.safetensors")
    found = run.directions
    groups = ", ".join(f"{name} {n:,}" for name, n in found.groups.items())
    counts = ", ".join(f"{name} {n:,}" for name, n in found.counts.items())
    words = (
        f"Directions by the method {found.method} at the position “{found.position}”. "
        f"Groups (one scenario with one outcome): {groups or NONE}. Rows behind each: "
        f"{counts or NONE}."
    )
    return paragraph(words)


def _norms(run: Run) -> Markup:
    """Length of each direction before normalisation, over layers."""
    if run.directions is None:
        return Markup()
    found = run.directions
    part = next((p for p in ("resid_post", "resid_mid") if _sites(found, p)), None)
    if part is None:
        return Markup()
    sites = _sites(found, part)
    looks = {name: run.look(name) for name in run.ordered(found.labels)[:_MAX_EMOTIONS]}
    lines = []
    for name, i in looks.items():
        lengths = (float(found.norms[site][found.labels.index(name)]) for site in sites)
        layers = (float(site.layer) for site in sites)
        lines.append(Line(look_of(i), tuple(zip(layers, lengths, strict=True)), shape=i))
    every = [y for entry in lines for _, y in entry.points if y > 0]
    if not every:
        return Markup()
    words = "; ".join(
        f"{name}: {short(entry.points[0][1])} to {short(entry.points[-1][1])}"
        for name, entry in zip(looks, lines, strict=True)
    )
    chart = line_chart(
        Frame("norms", f"Length of the directions at {part} by layer", words),
        lines,
        (min(every) / 1.15, max(every) * 1.15),
        lambda x: f"{x:g}",
        log=True,
        axis="layer",
        value_axis="length (log scale)",
    )
    return figure(
        "How far apart the emotions lie.",
        f"Length of each emotion's mean difference at {part} before it is normalised. It grows "
        "with the residual stream, so compare emotions within a layer.",
        [chart],
        key=emotion_key(looks),
    )


def _sites(found: Directions, part: str) -> list[Site]:
    return [site for site in found.norms if site.part == part]


def _cosines(geometry: Geometry) -> Markup:
    if not geometry.sublayers:
        return Markup()
    every = math.ceil(len(geometry.sublayers) / _MAX_SUBLAYERS)
    names, matrix = geometry.sublayers[::every], geometry.cosine[::every, ::every]
    n = len(names)
    ticks = spaced([name.partition(".")[0] for name in names], 10)
    beside = np.diagonal(matrix, 1)
    apart = float(matrix[0, -1])
    near = (
        f"Neighbours agree at {short(float(np.nanmean(beside)), 2)} on average; " if n > 1 else ""
    )
    words = f"{near}the first and the last sublayer at {short(apart, 2)}."
    chart = heat_map(
        Frame("cosine", "Cosine between the directions of the sublayers", words),
        matrix,
        Axis(ticks),
        Axis(ticks, "sublayer"),
        1.0,
        width=440,
        cell_height=400 / n,
    )
    return figure(
        "The same direction in every sublayer?",
        f"Cosine between directions of {counted(n, 'sublayer')}, from {names[0]} to {names[-1]}. "
        f"{words} A warm block along the diagonal is a stable window.",
        [chart],
        key=colour_key("−1", "", "+1", signed=True),
    )

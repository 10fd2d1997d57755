"""How alike the layers are: the arrangement of their emotions, and the subspaces they use."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo.report.charts import Frame
from emo.report.heat import Axis, colour_key, heat_map, spaced
from emo.report.markup import Markup, tag
from emo.report.records import Overlap, Similarity
from emo.report.tables import figure, paragraph
from emo.report.wording import counted, percent, short

_LEVEL = 0.05
_MAX_LAYERS, _WITH_NUMBERS = 56, 12


def layers_figures(similarity: Similarity | None, overlap: Overlap | None) -> Markup:
    """Two heat maps side by side, or why there are none; nothing for runs made before them."""
    parts = []
    if similarity is not None:
        parts.append(_similarity(similarity))
    if overlap is not None:
        parts.append(_overlap(overlap))
    return tag("div", *parts, class_="panels halves") if parts else Markup()


def _similarity(found: Similarity) -> Markup:
    if not found.sites:
        return paragraph(f"How alike the layers arrange the emotions: {found.reason}.", look="note")
    n = len(found.sites)
    apart = np.triu(np.ones((n, n), bool), 1)
    beyond = int((found.p_family[apart] <= _LEVEL).sum())
    chosen = _Chosen.of(found.sites)
    values, weak = chosen.cut(found.r), chosen.cut(found.p_family) > _LEVEL
    struck = {(int(i), int(j)) for i, j in np.argwhere(weak)}
    words = (
        f"{beyond:,} of {counted(int(apart.sum()), 'pair')} of layers are alike beyond chance "
        f"(p ≤ {_LEVEL:g}, corrected for all pairs)."
    )
    chart = chosen.draw(
        Frame("layer-rsa", "Correlation of the emotions' distances between layers", words),
        values,
        struck,
    )
    every = "all " if found.exact else ""
    reach = f", which reach r = {short(found.null_max, 2)} at most" if found.null_max else ""
    note = (
        f"{found.correlation.capitalize()} correlation of the {found.metric} distances between "
        f"the directions of {counted(found.n, 'emotion')}, layer by layer. {words} The null "
        f"relabels the emotions: {every}{counted(found.permutations, 'permutation')}{reach}."
    )
    if struck and chosen.numbered:
        note += " Struck through: not beyond chance."
    if n < 2:
        note += " There is one layer only."
    for warning in found.warnings:
        note += f" Note: {warning}."
    return figure(
        "Do the layers arrange the emotions alike?",
        note,
        [chart],
        key=colour_key("−1", "", "+1", signed=True),
    )


def _overlap(found: Overlap) -> Markup:
    if not found.sites:
        return paragraph(f"What dimensions the layers share: {found.reason}.", look="note")
    chosen = _Chosen.of(found.sites)
    values = chosen.cut(found.overlap)
    n = len(found.sites)
    near = float(np.diagonal(found.overlap, 1).mean()) if n > 1 else math.nan
    far = float(found.overlap[0, -1])
    words = (
        f"Neighbouring layers share {percent(near, 0)} on average, the first and the last "
        f"{percent(far, 0)}."
        if n > 1
        else "There is one layer only."
    )
    chart = chosen.draw(
        Frame("layer-overlap", "Overlap of the emotions' subspaces between layers", words), values
    )
    null = f"{percent(found.null_low, 1)} to {percent(found.null_high, 1)}"
    note = (
        "Mean squared cosine of the principal angles between the spans of the directions, "
        f"{counted(max(found.k), 'dimension')} of {found.d:,}. {words} Random subspaces share "
        f"{percent(found.chance)} on average, 95 % of them {null}."
    )
    return figure(
        "Do the layers use the same dimensions?",
        note,
        [chart],
        key=colour_key("0", f"chance {short(found.chance, 2)}", "1", signed=False),
    )


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


@dataclass(frozen=True)
class _Chosen:
    """Layers that fit into a picture, evenly spaced."""

    every: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, sites: tuple[str, ...]) -> _Chosen:
        every = max(math.ceil(len(sites) / _MAX_LAYERS), 1)
        layers = (site.partition(".")[0].removeprefix("L") for site in sites[::every])
        return cls(every, tuple(layers))

    @property
    def numbered(self) -> bool:
        """Whether cells are large enough for their numbers."""
        return len(self.names) <= _WITH_NUMBERS

    def cut(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return matrix[:: self.every, :: self.every]

    def draw(
        self,
        frame: Frame,
        values: NDArray[np.float64],
        struck: Collection[tuple[int, int]] = (),
    ) -> Markup:
        ticks = self.names if self.numbered else spaced(self.names, 10)
        return heat_map(
            frame,
            values,
            Axis(ticks),
            Axis(ticks, "layer"),
            1.0,
            width=440,
            cell_height=400 / len(self.names),
            write=_two_digits if self.numbered else None,
            struck=struck,
        )

"""Alignment of stores that do not fit memory: from streamed cross-moments and passes over rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.errors import NumericalError
from emo.geometry import ridge
from emo.geometry.alignment import Alignment, Scores, cosines, report, score
from emo.geometry.fits import (
    Fit,
    check_determined,
    choices,
    fit_linear,
    fit_procrustes,
    linear_fit,
)
from emo.geometry.interruptible import interruptible, unless_left
from emo.geometry.mapping import Map
from emo.geometry.pairs import MIN_ROWS, Pairs, held_out, split_pairs
from emo.geometry.permutations import permutations
from emo.geometry.procrustes import check_widths, polar
from emo.sites import Site, tensor_name
from emo.store import Store

Matrix = NDArray[np.float64]
IN_MEMORY = 2 << 30
_BLOCK = 2048
_SAMPLE_STREAM = 3


@dataclass(frozen=True)
class Design:
    """Options of an alignment; see `emo.geometry.align.align`."""

    method: str
    penalties: Matrix | None
    holdout: float
    permutations: int
    seed: int
    scale: bool


@dataclass(frozen=True)
class PairedRows:
    """One site of each of two stores, row by row of the same samples."""

    store_x: Store
    store_y: Store
    site_x: Site
    site_y: Site
    position: str

    @property
    def n(self) -> int:
        """Pairs."""
        return self.store_x.n_rows(self.position)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of the two."""
        return self.store_x.width(self.site_x), self.store_y.width(self.site_y)

    @property
    def nbytes(self) -> int:
        """Size of all rows in double precision."""
        return 8 * self.n * sum(self.widths)

    def blocks(self) -> Iterator[tuple[slice, Matrix, Matrix]]:
        """Read the pairs block by block."""
        for start in unless_left(range(0, self.n, _BLOCK)):
            stop = min(start + _BLOCK, self.n)
            x = self.store_x.read(self.site_x, self.position, start, stop)
            y = self.store_y.read(self.site_y, self.position, start, stop)
            yield slice(start, stop), x.astype(np.float64), y.astype(np.float64)

    def moments(self, labels: NDArray[np.int32], n_labels: int, threads: int) -> Any:
        """Stream the cross-moments of each label."""
        sides = []
        for store, site in ((self.store_x, self.site_x), (self.store_y, self.site_y)):
            shards, chunks = (
                store.shards(site, self.position),
                store.chunk_hashes(site, self.position),
            )
            sides.append((shards, tensor_name(site, self.position), chunks))
        (x, name_x, chunks_x), (y, name_y, chunks_y) = sides
        return _core.cross_moments(
            x, name_x, y, name_y, labels, n_labels,
            threads=threads, io=self.store_x.io, chunks_x=chunks_x, chunks_y=chunks_y,
        )  # fmt: skip


def align_streamed(rows: PairedRows, design: Design, threads: int) -> tuple[Alignment, Map]:
    """Align by the moments of the training rows; memory does not grow with their number.

    Raises
    ------
    NumericalError
        As for `align`; also with no more training pairs than the larger width, where the rows are
        smaller than their moments.
    """
    held = held_out(max(rows.n, MIN_ROWS), design.holdout, design.seed)[: rows.n]
    n, (dx, dy) = int((~held).sum()), rows.widths
    if n <= max(dx, dy):
        raise NumericalError(
            f"{n} training pairs in {dx} and {dy} dimensions are too few to stream",
            hint="read them whole (streamed=False)",
        )
    labels = np.where(held, -1, 0).astype(np.int32)
    found = rows.moments(labels, 1, threads)
    _check_varies(found)
    # The pass over the rows above is native and heeds Ctrl-C itself, in the main thread alone.
    return _from_moments(rows, held, design, found)


@interruptible
def _from_moments(
    rows: PairedRows, held: NDArray[np.bool_], design: Design, found: Any
) -> tuple[Alignment, Map]:
    """Fit on the moments of the training rows, and judge the map in passes over all rows."""
    sample, pairs = _shuffled_sample(rows, held, design)
    if design.method == "procrustes":
        fit = _rotate(found, design, sample)
    else:
        fit = _regress(rows, found, held, design, sample)
    note = f"shuffles, and p, are those of {len(pairs.x) + len(pairs.x_held)} of the {rows.n} pairs"
    return report(
        _scores(rows, held, fit.map),
        fit,
        method=design.method,
        n=rows.n,
        seed=design.seed,
        notes=(*pairs.notes, note),
        compared=score(pairs, sample.map).r2_heldout,
    ), fit.map


def _shuffled_sample(
    rows: PairedRows, held: NDArray[np.bool_], design: Design
) -> tuple[Fit, Pairs]:
    """Align a seeded sample of the pairs in memory, for the shuffles."""
    size = min(rows.n, max(4096, 2 * max(rows.widths)))
    chosen = np.zeros(rows.n, np.bool_)
    chosen[permutations(rows.n, 1, seed=design.seed, stream=_SAMPLE_STREAM)[0, :size]] = True
    parts = [(x[chosen[place]], y[chosen[place]]) for place, x, y in rows.blocks()]
    x, y = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    pairs = split_pairs(x, y, design.holdout, design.seed)
    if design.method == "procrustes":
        return fit_procrustes(pairs, design.permutations, design.seed, design.scale), pairs
    return fit_linear(pairs, design.penalties, design.permutations, design.seed), pairs


def _rotate(found: Any, design: Design, sample: Fit) -> Fit:
    xx, yy, xy = found["xx"][0], found["yy"][0], found["xy"][0]
    check_widths(*xy.shape)
    turn, nuclear = polar(xy)
    size = float(np.trace(xx))
    path = ridge.path_of(xx, xy, int(found["count"][0]))
    return replace(
        sample,
        map=Map(
            found["mean_x"][0], found["mean_y"][0], (turn,), nuclear / size if design.scale else 1.0
        ),
        condition=path.condition,
        rank=min(turn.shape),
        nuclear=nuclear / float(np.sqrt(size * np.trace(yy))),
        warnings=(),
    )


def _regress(
    rows: PairedRows, found: Any, held: NDArray[np.bool_], design: Design, sample: Fit
) -> Fit:
    means = (found["mean_x"][0], found["mean_y"][0])
    n = int(found["count"][0])
    check_determined(design.penalties, n, rows.widths[0])
    fits = ridge.path_of(found["xx"][0], found["xy"][0], n)
    penalties = choices(design.penalties, fits)
    errors = np.zeros(len(penalties))
    for place, x, y in rows.blocks() if len(penalties) > 1 else ():
        train = ~held[place]
        scores = (x[train] - means[0]) @ fits.axes
        outputs = y[train] - means[1]
        errors += [fits.squared_errors(scores, outputs, float(p)) for p in penalties]
    loo = [float(error) / (n * rows.widths[1]) for error in errors]
    return linear_fit(means, fits, design.penalties is None, (penalties, loo), sample.null)


def _scores(rows: PairedRows, held: NDArray[np.bool_], fitted: Map) -> Scores:
    """Judge a map in one pass over the rows."""
    error, total = np.zeros(2), np.zeros(2)
    after, before = [], []
    for place, x, y in rows.blocks():
        x, y = x - fitted.mean_x, y - fitted.mean_y
        mapped = fitted.apply_directions(x)
        for side, which in enumerate((held[place], ~held[place])):
            error[side] += ((y[which] - mapped[which]) ** 2).sum()
            total[side] += (y[which] ** 2).sum()
        after.append(cosines(mapped[held[place]], y[held[place]]))
        if fitted.dx == fitted.dy:
            before.append(cosines(x[held[place]], y[held[place]]))
    if total[0] == 0:
        raise NumericalError(
            "the held-out rows of y all equal the training mean, R^2 is undefined",
            hint="hold out more rows",
        )
    r2 = 1 - error / total
    return Scores(
        r2_heldout=float(r2[0]),
        r2_train=float(r2[1]),
        cosine=float(np.concatenate(after).mean()),
        cosine_before=float(np.concatenate(before).mean()) if before else None,
    )


def _check_varies(found: Any) -> None:
    for name, moments in (("x", found["xx"][0]), ("y", found["yy"][0])):
        if np.trace(moments) == 0:
            raise NumericalError(
                f"the rows of {name} are all the same, there is nothing to align",
                hint="check how the vectors were made",
            )

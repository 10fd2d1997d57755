"""Which emotions the replies were taken for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from emo.data.texts import Verdict
from emo.report.charts import Frame
from emo.report.heat import Axis, colour_key, heat_map
from emo.report.markup import Markup
from emo.report.methods import method_name
from emo.report.tables import figure, missing
from emo.report.wording import counted, percent

_UNLABELLED = "no label"
_MAX_MATRICES, _MAX_CLASSES = 4, 12


def confusions(
    verdicts: Sequence[Verdict] | None, methods: Sequence[str], targets: Sequence[str]
) -> Markup:
    """Target against judged label, one matrix for each method with targets."""
    if verdicts is None:
        return missing("which emotions were taken for which", "verdicts.jsonl")
    panels = [
        panel
        for i, name in enumerate(methods[:_MAX_MATRICES])
        if (panel := _confusion(i, name, verdicts, targets)) is not None
    ]
    if not panels or len(targets) > _MAX_CLASSES:
        return Markup()
    return figure(
        "What the replies were judged as.",
        "Rows are the emotion wanted, columns the judge's label; a row sums to 100 %. A good "
        "method has its strong cells on the diagonal; a strong column is a habit of the judge or "
        "of the model.",
        panels,
        key=colour_key("0 %", "", "100 % of the row", signed=False),
        look="halves",
    )


def _confusion(
    i: int, method: str, verdicts: Sequence[Verdict], targets: Sequence[str]
) -> Markup | None:
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
    frame = Frame(f"confusion-{i}", f"Judged labels, {name}", words)
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

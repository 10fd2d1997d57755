"""Train the linear judge on anybody's labelled texts, with its own held-out reliability."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from emo.errors import DataError, NumericalError, import_extra
from emo.judge.duplicates import near_duplicates
from emo.judge.labelled import Labelled
from emo.judge.linear import LinearJudge
from emo.judge.ngrams import Rows, Vocabulary, vectors, words
from emo.judge.protocol import agreement

N_FOLDS = 5


@dataclass(frozen=True)
class Options:
    """How a linear judge is trained.

    Parameters
    ----------
    min_texts : int
        An n-gram counts when it occurs in so many texts.
    strength : float
        Inverse of the L2 penalty (C of scikit-learn's logistic regression).
    blocks : tuple of str
        Kinds of n-grams.
    """

    min_texts: int = 2
    strength: float = 30.0
    blocks: tuple[str, ...] = ("word", "char")


def train(
    rows: Sequence[Labelled], *, seed: int = 0, options: Options | None = None
) -> LinearJudge:
    """Train a judge and measure it by cross-validation on the same texts.

    Near-duplicate texts are always in the same fold; folds keep the shares of the classes.

    Parameters
    ----------
    rows : sequence of Labelled
        Any labels; ``neutral`` for texts without emotion. A text that occurs twice counts once;
        a text with two different labels is left out, and the record counts these.
    seed : int
        Of the split into folds.

    Raises
    ------
    DataError
        When there are fewer than two classes.
    NumericalError
        When a class has too few independent texts for the folds.
    """
    options = options or Options()
    rows, n_contradictory = _distinct(rows)
    labels = [row.emotion for row in rows]
    groups = near_duplicates([row.text for row in rows], [row.group for row in rows])
    _check_classes(labels, groups)
    tokens = [words(row.text) for row in rows]
    given: list[str | None] = [None] * len(rows)
    for train_rows, test_rows in _folds(labels, groups, seed):
        judge = fit([tokens[i] for i in train_rows], [labels[i] for i in train_rows], options)
        shares = judge.probabilities([rows[i].text for i in test_rows])
        for i, share in zip(test_rows, shares, strict=True):
            known = not np.isnan(share[0])
            given[i] = judge.classes[int(share.argmax())] if known else None
    method = f"{N_FOLDS}-fold cross-validation, near-duplicates kept together"
    record = {
        "reliability": agreement(labels, given, method=method),
        "trained_on": {
            "n": len(rows),
            "left_out_for_two_labels": n_contradictory,
            "texts_of_class": dict(sorted(Counter(labels).items())),
            "sha256": _hash(rows),
        },
        "options": asdict(options) | {"blocks": list(options.blocks), "seed": seed},
    }
    return fit(tokens, labels, options, record)


def _distinct(rows: Sequence[Labelled]) -> tuple[list[Labelled], int]:
    """One row for each text, without the texts that have two labels; and the number of these."""
    first: dict[tuple[str, ...], Labelled] = {}
    labels: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        key = tuple(words(row.text))
        first.setdefault(key, row)
        labels[key].add(row.emotion)
    kept = [row for key, row in first.items() if len(labels[key]) == 1]
    return kept, len(first) - len(kept)


def _check_classes(labels: Sequence[str], groups: NDArray[np.int64]) -> None:
    if len(set(labels)) < 2:
        raise DataError(
            f"a judge needs at least two classes, there is {sorted(set(labels))}",
            hint="add texts of another emotion, or neutral ones",
        )
    independent = Counter(label for label, _ in set(zip(labels, groups.tolist(), strict=True)))
    poorest = min(independent, key=lambda label: (independent[label], label))
    if independent[poorest] < N_FOLDS:
        raise NumericalError(
            f"the class {poorest!r} has {independent[poorest]} texts that are not "
            f"near-duplicates; {N_FOLDS} are needed",
            hint="add texts of this class, or leave it out",
        )


def _folds(
    labels: Sequence[str], groups: NDArray[np.int64], seed: int
) -> list[tuple[list[int], list[int]]]:
    selection = import_extra("sklearn.model_selection", "geometry")
    splitter = selection.StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(labels)), np.array(labels), groups)
    return [(train_rows.tolist(), test_rows.tolist()) for train_rows, test_rows in parts]


def fit(
    tokens: Sequence[Sequence[str]],
    labels: Sequence[str],
    options: Options,
    record: dict[str, Any] | None = None,
) -> LinearJudge:
    """Fit a judge to tokenised texts, without measuring it.

    Raises
    ------
    MissingExtraError
        When scikit-learn is not installed.
    """
    linear_model = import_extra("sklearn.linear_model", "geometry")
    vocabularies = tuple(
        Vocabulary.fit(block, tokens, options.min_texts) for block in options.blocks
    )
    matrix = _csr(vectors(vocabularies, tokens), sum(len(v.grams) for v in vocabularies))
    model = linear_model.LogisticRegression(
        C=options.strength, class_weight="balanced", max_iter=2000, tol=1e-5
    )
    # one thread: a different order of sums would change the stored bits
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(matrix, np.array(labels))
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:  # scikit-learn keeps one row for two classes
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    return LinearJudge(
        tuple(str(name) for name in model.classes_),
        vocabularies,
        np.ascontiguousarray(coefficients.T).astype(np.float16),
        intercepts.astype(np.float32),
        record or {"reliability": {}},
    )


def _csr(rows: Rows, width: int) -> Any:
    sparse = import_extra("scipy.sparse", "geometry")
    shape = (len(rows.starts) - 1, width)
    return sparse.csr_matrix((rows.values, rows.columns, rows.starts), shape=shape)


def _hash(rows: Sequence[Labelled]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.text, row.emotion], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()

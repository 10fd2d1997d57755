"""Verdicts and likelihoods to the table of methods in ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emo.analysis.intervals import wilson
from emo.data.samples import DEFAULT_EMOTIONS, NEUTRAL
from emo.data.texts import METHODS, Text, Verdict
from emo.errors import DataError
from emo.experiments.fluency import Likelihood, perplexity

UNKNOWN_VALENCE = "unknown"
Pair = tuple[Text, Verdict]


def methods_table(
    texts: Sequence[Text],
    verdicts: Sequence[Verdict],
    likelihoods: Mapping[str, Likelihood] | None = None,
    *,
    named: Mapping[str, Likelihood] | None = None,
    emotions: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Accuracy, interval, counts and perplexity of each method.

    Parameters
    ----------
    texts : sequence of Text
    verdicts : sequence of Verdict
        One for each text, in any order.
    likelihoods : mapping of id to (float, int), optional
        Of each reply after the prompt that names no emotion; see `emo.experiments.fluency`.
    named : mapping of id to (float, int), optional
        The same after the prompt that names the target, for ``prompting``.
    emotions : sequence of str, optional
        The targets of the baseline; by default those of the other methods.

    Returns
    -------
    dict of method to dict
        `accuracy`, the share of the labelled replies that were judged as their target, with its
        Wilson 95 % interval `low`, `high`; `n` labelled, `unlabelled`; `perplexity` and, for
        prompting, `perplexity_named`; `by` emotion and valence the same numbers. Shares are
        None where nothing was labelled.
        For the baseline `accuracy` is the share judged as each target would be, averaged over
        the targets; a reply has one label, so this is the share judged as any target divided
        by the number of targets, and so is the interval. `neutral_share` is the share of the
        baseline's labelled replies judged neutral.

    Raises
    ------
    DataError
        When a text has no verdict.
    """
    pairs = _joined(texts, verdicts)
    targets = list(emotions or dict.fromkeys(t.emotion for t in texts if t.emotion is not None))
    table = {}
    for method in _order(texts):
        mine = [pair for pair in pairs if pair[0].method == method]
        if method == "baseline":
            table[method] = _baseline(mine, targets or list(DEFAULT_EMOTIONS), likelihoods)
        else:
            table[method] = _targeted(mine, likelihoods)
        if method == "prompting" and named is not None:
            table[method]["perplexity_named"] = _perplexity(mine, named)
    return table


def rate(hits: int, n: int, unlabelled: int) -> dict[str, Any]:
    """Share with its Wilson 95 % interval; None for all three when `n` is 0.

    >>> rate(3, 4, 1)["accuracy"]
    0.75
    """
    if n == 0:
        return {"accuracy": None, "low": None, "high": None, "n": 0, "unlabelled": unlabelled}
    low, high = wilson(hits, n)
    return {"accuracy": hits / n, "low": low, "high": high, "n": n, "unlabelled": unlabelled}


def _joined(texts: Sequence[Text], verdicts: Sequence[Verdict]) -> list[Pair]:
    known = {verdict.id: verdict for verdict in verdicts}
    missing = [text.id for text in texts if text.id not in known]
    if missing:
        raise DataError(
            f"{len(missing)} texts have no verdict, first {missing[0]}",
            hint="judge the same texts that are evaluated",
        )
    return [(text, known[text.id]) for text in texts]


def _order(texts: Sequence[Text]) -> list[str]:
    found = dict.fromkeys(text.method for text in texts)
    return [name for name in METHODS if name in found] + [n for n in found if n not in METHODS]


def _targeted(
    pairs: Sequence[Pair], likelihoods: Mapping[str, Likelihood] | None
) -> dict[str, Any]:
    by: dict[str, dict[str, Any]] = {}
    for emotion in dict.fromkeys(text.emotion for text, _ in pairs):
        mine = [pair for pair in pairs if pair[0].emotion == emotion]
        by[str(emotion)] = {
            valence: _cell(cell, emotion, likelihoods) for valence, cell in _by_valence(mine)
        }
    hits = sum(v.label is not None and v.label == text.emotion for text, v in pairs)
    n = sum(v.label is not None for _, v in pairs)
    row = rate(hits, n, len(pairs) - n)
    return row | {"perplexity": _perplexity(pairs, likelihoods), "by": by}


def _baseline(
    pairs: Sequence[Pair], targets: Sequence[str], likelihoods: Mapping[str, Likelihood] | None
) -> dict[str, Any]:
    by = {
        emotion: {
            valence: _cell(cell, emotion, likelihoods) for valence, cell in _by_valence(pairs)
        }
        for emotion in targets
    }
    labels = [verdict.label for _, verdict in pairs if verdict.label is not None]
    row = rate(sum(label in targets for label in labels), len(labels), len(pairs) - len(labels))
    if labels:
        row |= {name: row[name] / len(targets) for name in ("accuracy", "low", "high")}
    share = sum(label == NEUTRAL for label in labels) / len(labels) if labels else None
    row |= {"perplexity": _perplexity(pairs, likelihoods), "neutral_share": share}
    return row | {"by": by}


def _cell(
    pairs: Sequence[Pair], emotion: str | None, likelihoods: Mapping[str, Likelihood] | None
) -> dict[str, Any]:
    labels = [verdict.label for _, verdict in pairs if verdict.label is not None]
    hits = sum(label == emotion for label in labels)
    row = rate(hits, len(labels), len(pairs) - len(labels))
    return row | {"perplexity": _perplexity(pairs, likelihoods)}


def _by_valence(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    names = dict.fromkeys(text.source.valence or UNKNOWN_VALENCE for text, _ in pairs)
    return [
        (name, [pair for pair in pairs if (pair[0].source.valence or UNKNOWN_VALENCE) == name])
        for name in names
    ]


def _perplexity(
    pairs: Sequence[Pair], likelihoods: Mapping[str, Likelihood] | None
) -> float | None:
    if likelihoods is None:
        return None
    return perplexity([likelihoods[text.id] for text, _ in pairs if text.id in likelihoods])

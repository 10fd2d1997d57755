"""Choose layers, strength and position of steering on discovery data, and only there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emo.analysis.directions import Directions
from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample
from emo.data.texts import Text
from emo.errors import DataError, UsageError
from emo.experiments.elicit import MAX_NEW_TOKENS, Push, elicit
from emo.experiments.evaluate import rate
from emo.experiments.fluency import Likelihood, likelihoods, perplexity
from emo.judge import Judge
from emo.model import LanguageModel
from emo.model.steering import Relative, Scope
from emo.sites import parse_layers

DEPTHS = ("0.1-0.4", "0.3-0.6", "0.5-0.8", "0.2-0.8")
ALPHAS = (2.0, 4.0, 8.0, 16.0)
LIMIT_RATIO = 3.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """The grid, and what all its settings share.

    Parameters
    ----------
    depths : tuple of str
        Layer ranges in any form of `emo.sites.parse_layers`; shares fit every model.
    alphas : tuple of float
        Strengths, in the unit of `relative`, for `scope`.
    prompt_alphas : tuple of float
        Strengths for pushing the last token of the prompt alone, which bears larger ones.
    positions : tuple of str
        Which directions to try; empty for all that are given.
    limit_ratio : float
        Largest perplexity of the steered replies, in multiples of the baseline's.
    """

    depths: tuple[str, ...] = DEPTHS
    alphas: tuple[float, ...] = ALPHAS
    prompt_alphas: tuple[float, ...] = ()
    positions: tuple[str, ...] = ()
    limit_ratio: float = LIMIT_RATIO
    relative: Relative = "rms"
    scope: Scope = "both"
    max_new_tokens: int = MAX_NEW_TOKENS
    batch_size: int | None = None


@dataclass(frozen=True)
class Cell:
    """One setting and what came of it; `rate` as in `emo.experiments.evaluate`."""

    layers: tuple[int, ...]
    alpha: float
    position: str
    rate: Mapping[str, Any]
    perplexity: float | None
    scope: Scope = "both"

    @property
    def accuracy(self) -> float:
        """Share of the labelled replies judged as their target; 0 when none was labelled."""
        return float(self.rate["accuracy"] or 0.0)

    def ratio(self, baseline: float | None) -> float | None:
        """Perplexity in multiples of the baseline's."""
        return self.perplexity / baseline if self.perplexity and baseline else None

    def to_json(self, baseline: float | None) -> dict[str, Any]:
        """Return the cell as a row of ``strength.json``."""
        row = {"layers": list(self.layers), "alpha": self.alpha, "position": self.position}
        row["scope"] = self.scope
        row |= {"perplexity": self.perplexity, "perplexity_ratio": self.ratio(baseline)}
        return row | dict(self.rate)


@dataclass(frozen=True)
class Strength:
    """The whole grid and the choice from it.

    Parameters
    ----------
    choice : Cell or None
        None when no setting kept to the limit.
    cells : tuple of Cell
        By position, layers, strength.
    baseline_perplexity : float or None
        Of unsteered replies to the same samples.
    plan : Plan
    """

    choice: Cell | None
    cells: tuple[Cell, ...]
    baseline_perplexity: float | None
    plan: Plan = field(default_factory=Plan)

    @property
    def mildest(self) -> Cell:
        """Setting of the smallest perplexity, to go on with when there is no choice."""
        return min(self.cells, key=lambda cell: (cell.perplexity or float("inf"), cell.alpha))

    def to_json(self) -> dict[str, Any]:
        """Return ``strength.json``."""
        base = self.baseline_perplexity
        return {
            "choice": None if self.choice is None else self.choice.to_json(base),
            "mildest": self.mildest.to_json(base),
            "grid": [cell.to_json(base) for cell in self.cells],
            "baseline_perplexity": base,
            "limit_ratio": self.plan.limit_ratio,
            "relative": self.plan.relative,
        }


def choose(
    model: LanguageModel,
    samples: Sequence[Sample],
    directions: Mapping[str, Directions],
    judge: Judge,
    builder: PromptBuilder,
    *,
    emotions: Sequence[str],
    plan: Plan | None = None,
    held_out: Collection[str] = (),
    progress: Progress | None = None,
) -> Strength:
    """Steer with every setting of a grid; take the most accurate that stays fluent.

    The choice has the highest judged accuracy among the settings whose perplexity under the
    untouched model is at most `limit_ratio` times that of unsteered replies; ties go to the
    smaller perplexity, then to the earlier setting.

    Parameters
    ----------
    model : LanguageModel
    samples : sequence of Sample
        Discovery samples.
    directions : mapping of position to Directions
        Such as ``last`` and ``reply``.
    judge : Judge
    builder : PromptBuilder
    emotions : sequence of str
        Targets.
    plan : Plan, optional
    held_out : collection of str
        Groups of the test data; none of the samples may belong to them.
    progress : callable (settings done, settings in all), optional

    Returns
    -------
    Strength

    Raises
    ------
    DataError
        When a sample belongs to the test data.
    UsageError
        When the grid is empty or does not fit the model and directions.
    """
    plan = plan or Plan()
    _check_discovery(samples, held_out)
    settings = _settings(model.n_layers, directions, plan)
    shared: dict[str, Any] = {"emotions": emotions, "builder": builder}
    shared |= {"max_new_tokens": plan.max_new_tokens, "batch_size": plan.batch_size}
    plain = elicit(model, samples, method="baseline", **shared)
    base = perplexity(list(_likelihoods(model, plain, builder, plan).values()))
    cells = []
    for done, (position, layers, alpha, scope) in enumerate(settings, 1):
        push = Push(directions[position], layers, alpha, plan.relative, scope)
        texts = elicit(model, samples, method="steering", push=push, **shared)
        values = _likelihoods(model, texts, builder, plan)
        fluency, judged = perplexity(list(values.values())), _rate(judge, texts)
        cells.append(Cell(layers, alpha, position, judged, fluency, scope))
        if progress is not None:
            progress(done, len(settings))
    return Strength(pick(cells, base, plan.limit_ratio), tuple(cells), base, plan)


def pick(cells: Sequence[Cell], baseline: float | None, limit_ratio: float) -> Cell | None:
    """Return the most accurate cell within the limit, or None."""
    fluent = []
    for number, cell in enumerate(cells):
        ratio = cell.ratio(baseline)
        if ratio is not None and ratio <= limit_ratio and cell.rate["n"]:
            fluent.append((-cell.accuracy, ratio, number))
    return cells[min(fluent)[2]] if fluent else None


def _check_discovery(samples: Sequence[Sample], held_out: Collection[str]) -> None:
    leaked = sorted({sample.group for sample in samples} & set(held_out))
    if leaked:
        raise DataError(
            f"{len(leaked)} groups of the test data are among the discovery samples, "
            f"first {leaked[0]}",
            hint="choose the strength on discovery data only",
        )


def _settings(
    n_layers: int, directions: Mapping[str, Directions], plan: Plan
) -> list[tuple[str, tuple[int, ...], float, Scope]]:
    positions = plan.positions or tuple(directions)
    missing = [position for position in positions if position not in directions]
    if missing:
        raise UsageError(f"there are no directions at the position {missing[0]!r}")
    ranges = dict.fromkeys(parse_layers(depth, n_layers) for depth in plan.depths)
    strengths: list[tuple[Scope, float]] = [(plan.scope, alpha) for alpha in plan.alphas]
    strengths += [("prompt", alpha) for alpha in plan.prompt_alphas]
    settings = [
        (position, layers, alpha, scope)
        for position in positions
        for layers in ranges
        for scope, alpha in strengths
    ]
    if not settings:
        raise UsageError("the grid of strengths is empty")
    return settings


def _likelihoods(
    model: LanguageModel, texts: Sequence[Text], builder: PromptBuilder, plan: Plan
) -> dict[str, Likelihood]:
    return likelihoods(model, texts, builder, batch_size=plan.batch_size)


def _rate(judge: Judge, texts: Sequence[Text]) -> dict[str, Any]:
    verdicts = judge.judge(texts)
    n = sum(verdict.label is not None for verdict in verdicts)
    hits = sum(v.label is not None and v.label == v.emotion for v in verdicts)
    return rate(hits, n, len(verdicts) - n)

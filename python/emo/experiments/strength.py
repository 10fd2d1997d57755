"""Choose layers, strength and position of steering on discovery data, and only there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emo.analysis.directions import Directions
from emo.data.partial import PartFile
from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample, scenario_text
from emo.errors import DataError, UsageError
from emo.experiments.elicit import MAX_NEW_TOKENS, Push
from emo.experiments.trial import Trial
from emo.judge import Judge
from emo.model import LanguageModel
from emo.model.steering import Relative, Scope
from emo.sites import parse_layers

DEPTHS = ("0.1-0.4", "0.3-0.6", "0.5-0.8", "0.2-0.8")
ALPHAS = (2.0, 4.0, 8.0, 16.0)
LIMIT_RATIO = 3.0
CONTROL_MARGIN = 0.1
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
    control_margin : float
        By how much random vectors of the same norm may raise the share of replies judged as their
        target above that of unsteered ones.
    tries : int
        How many of the best settings are held against that control.
    """

    depths: tuple[str, ...] = DEPTHS
    alphas: tuple[float, ...] = ALPHAS
    prompt_alphas: tuple[float, ...] = ()
    positions: tuple[str, ...] = ()
    limit_ratio: float = LIMIT_RATIO
    control_margin: float = CONTROL_MARGIN
    tries: int = 4
    relative: Relative = "rms"
    scope: Scope = "both"
    max_new_tokens: int = MAX_NEW_TOKENS
    batch_size: int | None = None


@dataclass(frozen=True)
class Cell:
    """One setting and what came of it; `rate` as in `emo.experiments.evaluate`.

    `control` is the rate of random vectors of the same norm, where the setting was held against
    them.
    """

    layers: tuple[int, ...]
    alpha: float
    position: str
    rate: Mapping[str, Any]
    perplexity: float | None
    scope: Scope = "both"
    control: Mapping[str, Any] | None = None

    @property
    def accuracy(self) -> float:
        """Share of the labelled replies judged as their target; 0 when none was labelled."""
        return _share(self.rate)

    @property
    def gain(self) -> float:
        """By how much the directions are more accurate than the control."""
        return self.accuracy - (_share(self.control) if self.control else 0.0)

    def ratio(self, baseline: float | None) -> float | None:
        """Perplexity in multiples of the baseline's."""
        return self.perplexity / baseline if self.perplexity and baseline else None

    def to_json(self, baseline: float | None) -> dict[str, Any]:
        """Return the cell as a row of ``strength.json``."""
        row = {"layers": list(self.layers), "alpha": self.alpha, "position": self.position}
        row["scope"] = self.scope
        row |= {"perplexity": self.perplexity, "perplexity_ratio": self.ratio(baseline)}
        control = None if self.control is None else dict(self.control)
        return row | dict(self.rate) | {"control": control}


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
    baseline_accuracy : float
        Share of the unsteered replies judged as each target would be, averaged.
    """

    choice: Cell | None
    cells: tuple[Cell, ...]
    baseline_perplexity: float | None
    plan: Plan = field(default_factory=Plan)
    baseline_accuracy: float = 0.0

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
            "baseline_accuracy": self.baseline_accuracy,
            "limit_ratio": self.plan.limit_ratio,
            "control_margin": self.plan.control_margin,
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
    seed: int = 0,
    part: PartFile | None = None,
    progress: Progress | None = None,
) -> Strength:
    """Steer with every setting of a grid; take the most accurate that is fluent and specific.

    Settings whose perplexity under the untouched model is at most `limit_ratio` times that of
    unsteered replies are ranked by judged accuracy; ties go to the smaller perplexity, then to
    the earlier setting. The best of them are held, one after the other, against random vectors
    of the same norm, and the first counts under which these stay within `control_margin` of
    unsteered replies. When none of the best `tries` does, the one that gains most over its
    control is taken. Where a strength breaks the limit, larger ones of the same layers, position
    and scope are not tried: they are less fluent still, and their long replies cost the most.

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
        Scenarios of the test data (`emo.data.samples.scenario_text`); none of the samples may
        tell one of them.
    seed : int
        Of the random vectors.
    part : PartFile, optional
        Keeps what came of each finished setting; those that are there are not tried again.
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
    trial = Trial(
        model,
        samples,
        judge,
        builder,
        tuple(emotions),
        max_new_tokens=plan.max_new_tokens,
        batch_size=plan.batch_size,
        part=part,
    )
    plain = trial.outcome("baseline")
    base, usual = plain.perplexity, plain.usual
    cells: list[Cell] = []
    broken: set[tuple[str, tuple[int, ...], Scope]] = set()
    for done, (position, layers, alpha, scope) in enumerate(settings, 1):
        if (position, layers, scope) not in broken:
            push = Push(directions[position], layers, alpha, plan.relative, scope)
            found = trial.outcome("steering", push, position)
            cell = Cell(layers, alpha, position, found.rate, found.perplexity, scope)
            cells.append(cell)
            if (cell.ratio(base) or 0.0) > plan.limit_ratio:
                broken.add((position, layers, scope))
        if progress is not None:
            progress(done, len(settings))
    tried = []
    for number in ranked(cells, base, plan.limit_ratio)[: plan.tries]:
        cell = cells[number]
        push = Push(directions[cell.position], cell.layers, cell.alpha, plan.relative, cell.scope)
        control = trial.outcome("random", push.randomised(seed), cell.position).rate
        cells[number] = replace(cell, control=control)
        tried.append(cells[number])
        if _share(control) <= usual + plan.control_margin:
            break
    return Strength(pick(tried, usual + plan.control_margin), tuple(cells), base, plan, usual)


def ranked(cells: Sequence[Cell], baseline: float | None, limit_ratio: float) -> list[int]:
    """Return the numbers of the cells within the limit of fluency, the most accurate first."""
    fluent = []
    for number, cell in enumerate(cells):
        ratio = cell.ratio(baseline)
        if ratio is not None and ratio <= limit_ratio and cell.rate["n"]:
            fluent.append((-cell.accuracy, ratio, number))
    return [number for _, _, number in sorted(fluent)]


def pick(tried: Sequence[Cell], limit: float) -> Cell | None:
    """Return the first cell whose control stays within the limit, else that of the largest gain."""
    for cell in tried:
        if _share(cell.control or {}) <= limit:
            return cell
    return max(tried, key=lambda cell: cell.gain, default=None)


def _check_discovery(samples: Sequence[Sample], held_out: Collection[str]) -> None:
    leaked = [sample.id for sample in samples if scenario_text(sample) in held_out]
    if leaked:
        raise DataError(
            f"{len(leaked)} discovery samples tell a scenario of the test data, first {leaked[0]}",
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
    strengths.sort(key=lambda strength: (strength[0] == "prompt", strength[1]))
    settings = [
        (position, layers, alpha, scope)
        for position in positions
        for layers in ranges
        for scope, alpha in strengths
    ]
    if not settings:
        raise UsageError("the grid of strengths is empty")
    return settings


def _share(rate: Mapping[str, Any]) -> float:
    return float(rate.get("accuracy") or 0.0)

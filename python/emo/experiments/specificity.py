"""Does a direction make its own emotion more probable than others? A check without a judge.

For models too small to be judged by what they write: each emotion has continuations of its own,
and the gain of one is the rise of its mean log-probability per token, averaged over continuations
and prompts, when a vector is added at every position of one layer's residual stream.  With g the
gains of all E emotions under a vector,

    specific[e] = g[e] - mean over e' != e of g[e'],

which is 0 for a vector that makes everything equally more or less probable.  A direction counts
for as much as its specific gain stands above those of random vectors of the same norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from emo.analysis.directions import Directions
from emo.analysis.rows import label_rows
from emo.data.prompts import PromptBuilder
from emo.errors import DataError, NumericalError, UsageError, did_you_mean
from emo.model import LanguageModel, edit, log_likelihood
from emo.sites import PARTS, Site
from emo.store import Store

N_RANDOM = 20
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Continuations:
    """Prompts that name no emotion, and what may follow them.

    Parameters
    ----------
    prompts : sequence of str
        As the model reads them: no instruction or template is added.
    by_emotion : mapping of str to sequence of str
        Continuations that express each emotion, with their leading space.
    """

    prompts: Sequence[str]
    by_emotion: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Specificity:
    """Gains of directions, beside those of random vectors of the same norm.

    Parameters
    ----------
    site : Site
        Where the vectors were added.
    labels : tuple of str
        The E emotions.
    strength : float
        Norm of every vector that was added.
    gains : (E, E) float64 array
        Row d, column e: gain of emotion e's continuations under the direction of emotion d, in
        nats per token; positive means more probable.
    random : (n_random, E) float64 array
        Specific gain of each emotion under each random vector.
    seed : int
        Of the random vectors.
    """

    site: Site
    labels: tuple[str, ...]
    strength: float
    gains: NDArray[np.float64]
    random: NDArray[np.float64]
    seed: int

    @property
    def specific(self) -> NDArray[np.float64]:
        """Specific gain of each emotion under its own direction, (E,), nats per token."""
        return np.diagonal(specific_gains(self.gains)).copy()

    @property
    def z(self) -> NDArray[np.float64]:
        """Specific gains in standard deviations of the random ones, counted from their mean.

        With n random vectors and a true score z its standard error is close to
        sqrt(1/n + z^2 / (2 (n - 1))): with 20 vectors about a sixth of a large z.
        """
        spread = self.random.std(axis=0, ddof=1)
        return np.asarray((self.specific - self.random.mean(axis=0)) / spread, dtype=np.float64)

    @property
    def p(self) -> NDArray[np.float64]:
        """Share of vectors at least as good, one-sided: (b + 1) / (n_random + 1), (E,)."""
        b = (self.random >= self.specific).sum(axis=0)
        return np.asarray((b + 1) / (len(self.random) + 1), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return one row for each emotion, with what was done."""
        columns = (self.specific, self.z, self.p, self.random.max(axis=0))
        names = ("specific", "z", "p", "largest_random")
        rounded = zip(*(np.round(column, 4).tolist() for column in columns), strict=True)
        rows = {
            label: dict(zip(names, values, strict=True))
            for label, values in zip(self.labels, rounded, strict=True)
        }
        done = {"site": str(self.site), "strength": self.strength, "seed": self.seed}
        return {**done, "n_random": len(self.random), "emotions": rows}


def specificity(
    model: LanguageModel,
    directions: Directions,
    continuations: Continuations,
    *,
    site: Site,
    strength: float,
    n_random: int = N_RANDOM,
    seed: int = 0,
    progress: Progress | None = None,
) -> Specificity:
    """Measure the specific gain of each direction at one site, with its random control.

    Parameters
    ----------
    model : LanguageModel
    directions : Directions
        With unit vectors of every emotion at `site`.
    continuations : Continuations
        Of at least two emotions.
    site : Site
        Of the residual stream's width; `resid_post` of a middle layer is a good first choice.
    strength : float
        Norm of the added vectors, such as half of `neutral_norm`.
    n_random : int, at least 2
        Random vectors, uniform on the sphere, the same for all emotions.
    seed : int, at least 0
    progress : callable (vectors done, vectors in all), optional

    Returns
    -------
    Specificity

    Raises
    ------
    UsageError
        When an emotion or the site has no direction, or a number is out of range.
    DataError
        When there are fewer than two emotions, or a text is empty or too long.
    NumericalError
        When a gain is not finite, or the random vectors all do the same.
    """
    labels = tuple(continuations.by_emotion)
    units = _units(model, directions, labels, site)
    if not (np.isfinite(strength) and strength > 0) or n_random < 2 or seed < 0:
        raise UsageError(
            f"the strength {strength} must be positive, the {n_random} random vectors at least 2 "
            f"and the seed {seed} at least 0"
        )
    scorer = _Scorer(model, continuations)
    vectors = np.concatenate([units, random_units(n_random, model.d_model, site, seed)])
    base = scorer.scores(site, None)
    gains = np.empty((len(vectors), len(labels)))
    for i, vector in enumerate(vectors):
        gains[i] = scorer.scores(site, strength * vector) - base
        if progress is not None:
            progress(i + 1, len(vectors))
    if not np.isfinite(gains).all():
        raise NumericalError(f"the log-probabilities at {site} are not finite", hint="push less")
    random = specific_gains(gains[len(labels) :])
    if not (random.std(axis=0) > 0).all():
        raise NumericalError(f"random vectors at {site} all have one effect", hint="push more")
    return Specificity(site, labels, float(strength), gains[: len(labels)], random, seed)


def specific_gains(gains: ArrayLike) -> NDArray[np.float64]:
    """Subtract from each emotion's gain the mean gain of the others.

    Parameters
    ----------
    gains : (..., E) array, E at least 2

    Returns
    -------
    (..., E) float64 array
        Summing to 0 over the emotions.

    >>> specific_gains([1.0, 0.5, 0.0]).tolist()
    [0.75, 0.0, -0.75]
    """
    values = np.asarray(gains, dtype=np.float64)
    others = (values.sum(axis=-1, keepdims=True) - values) / (values.shape[-1] - 1)
    return np.asarray(values - others)


def neutral_norm(store: Store, site: Site, position: str = "mean") -> float:
    """Return the mean norm of the neutral rows of a store, a scale for `specificity`.

    Raises
    ------
    NumericalError
        When the store has no neutral rows.
    UsageError
        When it lacks the site or the position.
    """
    site = store.site(site)
    rows = label_rows(store, store.position(position))
    neutral = np.isin(rows.labels, rows.neutral)
    if not neutral.any():
        raise NumericalError(f"{store.path} has no neutral rows at the position {position!r}")
    vectors = store.read(site, position)[neutral].astype(np.float64)
    return float(np.linalg.norm(vectors, axis=1).mean())


def random_units(n: int, width: int, site: Site, seed: int) -> NDArray[np.float64]:
    """Draw `n` unit vectors, (n, width) float64, uniform on the sphere; a stream per site."""
    rng = np.random.default_rng([seed, site.layer, PARTS.index(site.part)])
    vectors = rng.standard_normal((n, width))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def split_tokens(
    prompt: Sequence[int], whole: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut the tokens of prompt and continuation where they first differ from the prompt's.

    A tokenizer that merges the end of a prompt with the beginning of what follows gives the
    merged token to the continuation.

    >>> split_tokens([5, 6, 7], [5, 6, 8, 9])
    ((5, 6), (8, 9))
    """
    pairs = enumerate(zip(prompt, whole, strict=False))
    n = next((i for i, (a, b) in pairs if a != b), len(prompt))
    return tuple(whole[:n]), tuple(whole[n:])


def _units(
    model: LanguageModel, directions: Directions, labels: Sequence[str], site: Site
) -> NDArray[np.float64]:
    """Directions of `labels` at `site`, (E, d_model)."""
    if len(labels) < 2:
        raise DataError("a specific gain needs continuations of at least two emotions")
    if site not in directions.unit:
        raise UsageError(
            f"the directions hold no {site}",
            hint=did_you_mean(str(site), map(str, directions.unit)),
        )
    for label in labels:
        if label not in directions.labels:
            raise UsageError(
                f"the directions hold no {label!r}", hint=did_you_mean(label, directions.labels)
            )
    units = directions.unit[site][[directions.labels.index(label) for label in labels]]
    if units.shape[1] != model.d_model:
        raise UsageError(
            f"the directions are {units.shape[1]} wide, but the model is {model.d_model} wide"
        )
    return units.astype(np.float64)


class _Scorer:
    """Tokens of all prompts with all continuations, and whose they are."""

    def __init__(self, model: LanguageModel, continuations: Continuations) -> None:
        self._model = model
        builder = PromptBuilder(model.tokenizer)
        self._prompts: list[tuple[int, ...]] = []
        self._replies: list[tuple[int, ...]] = []
        owners: list[int] = []
        for e, (emotion, texts) in enumerate(continuations.by_emotion.items()):
            if not texts or not continuations.prompts:
                raise DataError(f"{emotion} has no prompts with continuations")
            for prompt in continuations.prompts:
                before = builder.plain(prompt).ids
                for text in texts:
                    context, reply = split_tokens(before, builder.plain(prompt + text).ids)
                    if not reply:
                        raise DataError(f"the continuation {text!r} of {emotion} holds no tokens")
                    self._prompts.append(context)
                    self._replies.append(reply)
                    owners.append(e)
        self._owners = np.array(owners)

    def scores(self, site: Site, push: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Mean log-probability per token of each emotion's continuations, (E,)."""
        with nullcontext() if push is None else edit(self._model, {site: self._add(push)}):
            values = log_likelihood(self._model, self._prompts, self._replies)
        means = np.array([total / n for total, n in values])
        return np.bincount(self._owners, weights=means) / np.bincount(self._owners)

    def _add(
        self, push: NDArray[np.float64]
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        vector = torch.from_numpy(push).to(self._model.device, torch.float32)

        def change(h: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            return (h.float() + vector).to(h.dtype)

        return change

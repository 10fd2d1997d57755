"""Try a setting of steering on samples: elicit replies, judge them, weigh their fluency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emo.data.partial import PartFile
from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample
from emo.data.texts import Text
from emo.errors import DataError
from emo.experiments.elicit import MAX_NEW_TOKENS, Push, elicit
from emo.experiments.evaluate import rate
from emo.experiments.fluency import likelihoods, perplexity
from emo.judge import Judge
from emo.model import LanguageModel


@dataclass(frozen=True)
class Outcome:
    """What came of one setting.

    Parameters
    ----------
    rate : mapping
        As `emo.experiments.evaluate.rate` gives it: share of the labelled replies judged as their
        target, with its interval.
    usual : float
        Share of the labelled replies judged as a target would be, averaged over the targets,
        whatever each reply's own target was; in [0, 1].
    perplexity : float or None
        Of the replies under the untouched model; None where they were not weighed.
    """

    rate: Mapping[str, Any]
    usual: float
    perplexity: float | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> Outcome:
        """Read an outcome from a JSON object; `where` names it in errors."""
        rate, found, usual = row.get("rate"), row.get("perplexity"), row.get("usual")
        if not (isinstance(rate, dict) and {"accuracy", "n"} <= rate.keys()):
            raise DataError(f"{where}: there is no rate")
        if not isinstance(usual, float):
            raise DataError(f"{where}: there is no usual share")
        if not (found is None or isinstance(found, float)):
            raise DataError(f"{where}: the perplexity is no number")
        return cls(rate, usual, found)


@dataclass(frozen=True)
class Trial:
    """Elicits, judges and weighs replies to the same samples, one setting after the other."""

    model: LanguageModel
    samples: Sequence[Sample]
    judge: Judge
    builder: PromptBuilder
    emotions: tuple[str, ...]
    max_new_tokens: int = MAX_NEW_TOKENS
    batch_size: int | None = None
    part: PartFile | None = None

    def outcome(self, method: str, push: Push | None = None, position: str = "") -> Outcome:
        """Try a setting, unless an earlier run did; random vectors are not weighed."""
        name = method
        if push is not None:
            name += f" {position} {','.join(map(str, push.layers))} {push.alpha} {push.scope}"
        known = {} if self.part is None else self.part.read(Outcome.from_row)
        if name in known:
            return known[name]
        texts = self._elicit(method, push)
        weight = None if method == "random" else self._perplexity(texts)
        found = Outcome(*self._rates(texts), weight)
        if self.part is not None:
            self.part.append([{"id": name} | asdict(found)])
        return found

    def _elicit(self, method: str, push: Push | None) -> list[Text]:
        return elicit(
            self.model,
            self.samples,
            emotions=self.emotions,
            method=method,
            builder=self.builder,
            push=push,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )

    def _perplexity(self, texts: Sequence[Text]) -> float | None:
        found = likelihoods(self.model, texts, self.builder, batch_size=self.batch_size)
        return perplexity(list(found.values()))

    def _rates(self, texts: Sequence[Text]) -> tuple[dict[str, Any], float]:
        verdicts = self.judge.judge(texts)
        labelled = [verdict for verdict in verdicts if verdict.label is not None]
        n = len(labelled)
        right = sum(verdict.label == verdict.emotion for verdict in labelled)
        expressive = sum(verdict.label in self.emotions for verdict in labelled)
        usual = expressive / n / len(self.emotions) if n else 0.0
        return rate(right, n, len(verdicts) - n), usual

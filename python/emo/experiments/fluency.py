"""How fluent, varied and attentive replies are, apart from the emotion they express."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from emo.data.partial import PartFile
from emo.data.prompts import PromptBuilder
from emo.data.texts import Text
from emo.data.words import lowered
from emo.errors import DataError, NumericalError
from emo.model import LanguageModel, log_likelihood

Likelihood = tuple[float, int]
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SHORTEST_CONTENT_WORD = 4
_FUNCTION_WORDS = """
    about above across after again against all almost along already also although always among
    and another any anybody anyone anything are around away back because been before behind being
    below beside between both but came can cannot come could did does doing done don't down during
    each either else even ever every everybody everyone everything few first for from gave get
    gets getting give given goes going gone got had half has have having her here hers herself him
    himself his how into isn't it's its itself just keep kept knew know last later least less let
    like made make makes making many may maybe might mine more most much must myself near neither
    never next nobody none nor not nothing now off often once one only onto other others our ours
    out over own perhaps put quite rather really said same saw say says see seen several shall she
    should since some somebody someone something sometimes soon still such take taken takes tell
    than that that's the their theirs them themselves then there these they thing things think
    this those though thought three through till told too took toward towards two under until upon
    use used very want was wasn't way well went were what whatever when whenever where whether
    which while who whoever whole whom whose why will with within without won't would yes yet you
    your yours yourself
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def likelihoods(
    model: LanguageModel,
    texts: Sequence[Text],
    builder: PromptBuilder,
    *,
    named: bool = False,
    batch_size: int | None = None,
    part: PartFile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Likelihood]:
    """Log-likelihood of each reply under the untouched model.

    Parameters
    ----------
    model : LanguageModel
    texts : sequence of Text
    builder : PromptBuilder
        Of the model's tokenizer.
    named : bool
        Put each reply after the prompt that names its target, instead of the prompt that names
        no emotion, which is the same for all methods.
    batch_size : int, optional
        As in `log_likelihood`.
    part : PartFile, optional
        Keeps the sums of finished batches; rows that are all there are not weighed again.
    progress : callable (texts done, texts in all), optional

    Returns
    -------
    dict of id to (float, int)
        Sum over the reply's tokens in nats, and their number; the end token does not count.
        What the model cannot read at the end of a long reply is left out.

    Raises
    ------
    NumericalError
        When the model gives a reply a probability that is no number.
    """
    prompts, replies = [], []
    for text in texts:
        emotion = text.emotion if named else None
        prompt = builder.build(text.source.content, emotion, reply=text.reply or None)
        prompts.append(prompt.ids[: prompt.n_prompt])
        replies.append(prompt.ids[prompt.n_prompt : model.context])
    known = {} if part is None else part.read(_sum)

    def keep(sums: Mapping[int, float]) -> None:
        wrong = [texts[i].id for i, value in sums.items() if not math.isfinite(value)]
        if wrong:
            raise NumericalError(
                f"the probability that {model.name} gives to the reply {wrong[0]} is no number",
                hint="check its weights, or take the device cpu, which computes in float32",
            )
        if part is not None:
            part.append({"id": texts[i].id, "sum": value} for i, value in sums.items())

    found = log_likelihood(
        model,
        prompts,
        replies,
        batch_size,
        existing={i: known[t.id] for i, t in enumerate(texts) if t.id in known},
        on_rows=keep,
        progress=progress,
    )
    return {text.id: value for text, value in zip(texts, found, strict=True)}


def _sum(row: Mapping[str, Any], where: str) -> float:
    value = row.get("sum")
    if not isinstance(value, float):
        raise DataError(f"{where}: there is no sum")
    return value


def perplexity(values: Sequence[Likelihood]) -> float | None:
    """exp(-(sum of log-likelihoods) / (number of tokens)), each token weighing the same.

    Returns
    -------
    float or None
        At least 1 for a proper model; None without tokens or when it is not finite.

    >>> round(perplexity([(-6.0, 2), (0.0, 0), (-3.0, 1)]), 4)
    20.0855
    """
    total, n_tokens = sum(value for value, _ in values), sum(n for _, n in values)
    if n_tokens == 0 or not math.isfinite(total) or -total / n_tokens > 700:
        return None
    return math.exp(-total / n_tokens)


def distinct2(replies: Sequence[str]) -> float | None:
    """Different pairs of neighbouring words over all such pairs (Li et al. 2016).

    Returns
    -------
    float or None
        In (0, 1]; None when no reply has two words.

    >>> distinct2(["so very sad", "so very happy"])
    0.75
    """
    pairs = [pair for reply in replies for pair in pairwise(lowered(reply))]
    return len(set(pairs)) / len(pairs) if pairs else None


def takes_word(texts: Sequence[Text]) -> float | None:
    """Share of replies that use a content word of the text they answer.

    A content word has at least four letters and is no English function word.

    Returns
    -------
    float or None
        In [0, 1]; None without texts.
    """
    if not texts:
        return None
    hits = [not content_words(t.reply).isdisjoint(content_words(t.source.content)) for t in texts]
    return sum(hits) / len(hits)


def content_words(text: str) -> frozenset[str]:
    """Words of at least four letters that are no English function words, in lower case.

    >>> sorted(content_words("They sold the boiler without asking."))
    ['asking', 'boiler', 'sold']
    """
    words = (word for word in lowered(text) if len(word) >= _SHORTEST_CONTENT_WORD)
    return frozenset(word for word in words if word not in FUNCTION_WORDS)


def verbatim(replies: Sequence[str], sentences: Collection[str]) -> float | None:
    """Share of replies all of whose sentences are among given training sentences.

    Case, punctuation and spaces do not count.

    Returns
    -------
    float or None
        In [0, 1]; None when there are no replies with words.

    >>> verbatim(["I see. It rains!", "I see a hat."], ["i see", "It  rains."])
    0.5
    """
    known = {tuple(lowered(sentence)) for sentence in sentences}
    spoken = [parts for parts in map(_sentences, replies) if parts]
    if not spoken:
        return None
    return sum(all(part in known for part in parts) for parts in spoken) / len(spoken)


def quality(
    texts: Sequence[Text], sentences: Collection[str] | None = None
) -> dict[str, Mapping[str, float | int | None]]:
    """Variety and attention of the replies of each method.

    Parameters
    ----------
    texts : sequence of Text
    sentences : collection of str, optional
        What the model was trained on, to see what it merely repeats.

    Returns
    -------
    dict of method to dict
        `distinct2`, `takes_word`, `n` and, with `sentences`, `verbatim`.
    """
    found: dict[str, Mapping[str, float | int | None]] = {}
    for method in dict.fromkeys(text.method for text in texts):
        mine = [text for text in texts if text.method == method]
        replies = [text.reply for text in mine]
        row: dict[str, float | int | None] = {
            "distinct2": distinct2(replies),
            "takes_word": takes_word(mine),
            "n": len(mine),
        }
        if sentences is not None:
            row["verbatim"] = verbatim(replies, sentences)
        found[method] = row
    return found


def _sentences(reply: str) -> list[tuple[str, ...]]:
    parts = (tuple(lowered(part)) for part in _SENTENCE_END.split(reply))
    return [part for part in parts if part]

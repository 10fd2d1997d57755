"""A Hugging Face sequence classifier as a judge, by hub name or folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.data.texts import Text, Verdict
from emo.errors import ModelError, import_extra
from emo.judge.protocol import Progress, labelled, unlabelled, without_judging

# Names that published classifiers give to what this package calls otherwise.
SYNONYMS = {
    "angry": "anger",
    "annoyance": "anger",
    "sad": "sadness",
    "joy": "happiness",
    "happy": "happiness",
    "enjoyment": "happiness",
    "scared": "fear",
    "fearful": "fear",
    "afraid": "fear",
    "surprised": "surprise",
    "surprise_positive": "surprise",
    "disgusted": "disgust",
    "none": "neutral",
    "no emotion": "neutral",
    "no_emotion": "neutral",
    "others": "neutral",
}
_MAX_TOKENS = 512
_ROWS = 32
NOT_FINITE = "not-finite"
_UNNAMED = re.compile(r"label_?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ClassifierJudge:
    """A sequence classifier whose labels are mapped to our emotions.

    Labels are lower-cased and mapped through `SYNONYMS`; the probabilities of labels that map
    to one emotion are added. Replies longer than the classifier reads are cut at the end.

    Parameters
    ----------
    source : str
        Name as given.
    model, tokenizer : Any
        From transformers.
    labels : tuple of str
        Our name of each output of the classifier, in its order.
    weights : str
        sha256 of its weight files.
    batch_size : int
        Replies at a time.
    """

    source: str
    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    weights: str
    batch_size: int = _ROWS
    reliability: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> ClassifierJudge:
        """Load a classifier from the hub or a folder.

        Raises
        ------
        UsageError
            When there is no such device here.
        ModelError
            When it cannot be loaded, is no sequence classifier, or its labels have no names.
        ResourceError
            When the hub cannot be reached.
        """
        import_extra("transformers", "model")
        from emo.model.source import find_model

        source = find_model(name, revision=revision)
        architectures = source.config.get("architectures") or []
        if not any("SequenceClassification" in str(name) for name in architectures):
            raise ModelError(
                f"{name} is no sequence classifier (its architectures: {architectures})",
                hint="name a model whose architecture ends in ForSequenceClassification",
            )
        model, tokenizer = _load(source.name, str(source.folder), device)
        labels = label_names(name, model.config.id2label)
        return cls(name, model, tokenizer, labels, source.weight_sha(), batch_size or _ROWS)

    @property
    def name(self) -> str:
        """``hf:``, the name of the model and the beginning of its weights' hash."""
        return f"hf:{self.source} ({self.weights[:8]})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Our names of its labels, without repeats."""
        return tuple(dict.fromkeys(self.labels))

    def judge(self, texts: Sequence[Text], progress: Progress | None = None) -> list[Verdict]:
        """Label each reply with its most probable class, or not where a number is not finite."""
        reasons = [without_judging(text, self.classes) for text in texts]
        asked = [i for i, reason in enumerate(reasons) if reason is None]
        verdicts = {
            i: unlabelled(texts[i], self.name, reason)
            for i, reason in enumerate(reasons)
            if reason is not None
        }
        by_length = sorted(asked, key=lambda i: (len(texts[i].reply), i))
        for start in range(0, len(by_length), self.batch_size):
            rows = by_length[start : start + self.batch_size]
            shares = self.probabilities([texts[i].reply for i in rows])
            for i, share in zip(rows, shares, strict=True):
                verdicts[i] = self._verdict(texts[i], share)
            if progress is not None:
                progress(len(verdicts), len(texts))
        return [verdicts[i] for i in range(len(texts))]

    def _verdict(self, text: Text, share: NDArray[np.float64]) -> Verdict:
        if not np.isfinite(share).all():
            return unlabelled(text, self.name, NOT_FINITE)
        best = int(share.argmax())
        return labelled(text, self.name, self.classes[best], round(float(share[best]), 4))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each of our classes, (n_texts, n_classes) float64.

        From a softmax over the classifier's outputs; for a multi-label classifier each output's
        own sigmoid, so that rows need not sum to 1.
        """
        torch = import_extra("torch", "model")
        limit = min(int(self.tokenizer.model_max_length), _MAX_TOKENS)
        limit = min(limit, int(getattr(self.model.config, "max_position_embeddings", limit)))
        encoded = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.model.device)
        with torch.inference_mode():
            logits = self.model(**encoded).logits.double()
        if getattr(self.model.config, "problem_type", None) == "multi_label_classification":
            shares = torch.sigmoid(logits)
        else:
            shares = torch.softmax(logits, dim=-1)
        out = np.zeros((len(texts), len(self.classes)))
        for column, label in enumerate(self.labels):
            out[:, self.classes.index(label)] += shares[:, column].cpu().numpy()
        return out


def label_names(name: str, id2label: Mapping[Any, str]) -> tuple[str, ...]:
    """Our names of a classifier's labels, in the order of its outputs.

    Raises
    ------
    ModelError
        When the labels have no names (``LABEL_0``).

    >>> label_names("m", {0: "Joy", 1: "anger", 2: "no emotion"})
    ('happiness', 'anger', 'neutral')
    """
    given = [str(id2label[key]).strip().lower() for key in sorted(id2label, key=int)]
    if any(_UNNAMED.fullmatch(label) for label in given):
        raise ModelError(
            f"the labels of {name} have no names ({given[0]!r})",
            hint="take a classifier whose config.json names its labels in id2label",
        )
    return tuple(SYNONYMS.get(label, label) for label in given)


def _load(name: str, folder: str, device: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from emo.model.load import pick_device, silent, unusable

    place = pick_device(device)
    loader: Any = AutoModelForSequenceClassification
    tokenizers: Any = AutoTokenizer
    try:
        with silent():
            model = loader.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            tokenizer = tokenizers.from_pretrained(folder, local_files_only=True)
    # The library names no set of exceptions for files that are damaged.
    except Exception as error:
        raise unusable(f"the classifier {name} cannot be loaded", error) from None
    return model.to(place).eval(), tokenizer

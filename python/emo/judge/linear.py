"""The offline judge: TF-IDF of words and characters, and a multinomial logistic regression.

A judge is a folder with ``judge.json`` (classes, options, reliability, hash of the arrays) and
``judge.safetensors`` (n-grams, their weights, coefficients). Judging needs numpy only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.artifacts import read_json, write_bytes, write_json
from emo.data.texts import Text, Verdict
from emo.errors import AGAIN, ArtifactError, ResourceError
from emo.judge.ngrams import Vocabulary, vectors, words
from emo.judge.protocol import Progress, labelled, unlabelled, without_judging

KIND = "linear-judge"
FORMAT = 1
RECORD, ARRAYS = "judge.json", "judge.safetensors"
UNKNOWN_WORDS = "unknown-words"


@dataclass(frozen=True)
class LinearJudge:
    """A trained linear judge.

    Parameters
    ----------
    classes : tuple of str
        Labels, in ascending order.
    vocabularies : tuple of Vocabulary
        The word block first.
    coefficients : (n_grams, n_classes) float16 array
        Logit of each class per unit of an n-gram's value, all blocks in order.
    intercepts : (n_classes,) float32 array
        Logit of each class for an empty vector.
    record : mapping
        `reliability` (see `emo.judge.protocol.agreement`), `trained_on`, `options`.
    """

    classes: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    coefficients: NDArray[np.float16]
    intercepts: NDArray[np.float32]
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``linear-`` and the start of the hash of the arrays."""
        return f"linear-{self._sha[:8]}"

    @property
    def reliability(self) -> Mapping[str, Any]:
        """Held-out agreement from cross-validation on the training texts."""
        reliability: Mapping[str, Any] = self.record["reliability"]
        return reliability

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each class for each text.

        Returns
        -------
        (n_texts, n_classes) float64 array
            Rows sum to 1; a row of NaN for a text without any known word.
        """
        tokens = [words(text) for text in texts]
        logits = vectors(self.vocabularies, tokens).dot(self._weights) + self.intercepts
        shares: NDArray[np.float64] = np.exp(
            logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        )
        shares /= shares.sum(axis=1, keepdims=True)
        shares[[not self._known.intersection(row) for row in tokens]] = np.nan
        return shares

    def judge(self, texts: Sequence[Text], progress: Progress | None = None) -> list[Verdict]:
        """Label each reply with its most probable class.

        The first of equally probable classes wins. Replies without a known word, without a
        letter or digit, or with a target outside the classes have no label.
        """
        shares = self.probabilities([text.reply for text in texts])
        if progress is not None:
            progress(len(texts), len(texts))
        return [self._verdict(text, row) for text, row in zip(texts, shares, strict=True)]

    def _verdict(self, text: Text, shares: NDArray[np.float64]) -> Verdict:
        reason = without_judging(text, self.classes)
        if reason is None and np.isnan(shares[0]):
            reason = UNKNOWN_WORDS
        if reason is not None:
            return unlabelled(text, self.name, reason)
        best = int(shares.argmax())
        return labelled(text, self.name, self.classes[best], round(float(shares[best]), 4))

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return self.coefficients.astype(np.float64)

    @cached_property
    def _known(self) -> frozenset[str]:
        grams = (gram for v in self.vocabularies if v.block == "word" for gram in v.grams)
        return frozenset(gram for gram in grams if " " not in gram and gram not in "!?")

    @cached_property
    def _arrays(self) -> bytes:
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {
            "coefficients": self.coefficients,
            "intercepts": self.intercepts,
        }
        for vocabulary in self.vocabularies:
            lines = "\n".join(vocabulary.grams).encode()
            arrays[f"{vocabulary.block}.grams"] = np.frombuffer(lines, dtype=np.uint8)
            arrays[f"{vocabulary.block}.idf"] = vocabulary.idf.astype(np.float32)
        return save(arrays)

    @cached_property
    def _sha(self) -> str:
        return hashlib.sha256(self._arrays).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the judge into `folder`; the same judge gives the same bytes.

        Raises
        ------
        ArtifactError
            When the folder holds something else.
        ResourceError
            When the folder cannot be written.
        """
        refuse_foreign(folder)
        head = {"kind": KIND, "format": FORMAT, "classes": list(self.classes)}
        blocks = [vocabulary.block for vocabulary in self.vocabularies]
        write_bytes(Path(folder) / ARRAYS, self._arrays)
        write_json(
            Path(folder) / RECORD,
            head | {"blocks": blocks, "sha256": self._sha} | dict(self.record),
        )

    @classmethod
    def load(cls, folder: Path) -> LinearJudge:
        """Read a judge.

        Raises
        ------
        ArtifactError
            When a file is missing, damaged, foreign or of a newer format.
        """
        path = Path(folder) / RECORD
        if not path.is_file():
            raise ArtifactError(
                f"{folder} is not a judge: it has no {RECORD}", hint="emo judge train makes one"
            )
        record = read_json(path, "judge")
        if not isinstance(record, dict) or record.get("kind") != KIND:
            raise ArtifactError(
                f"{path} was not written by emo judge train", hint="give a folder that was"
            )
        if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
            raise ArtifactError(
                f"{path} has format {record.get('format')}, this version reads up to {FORMAT}",
                hint="upgrade emo-circuits",
            )
        arrays = _read_arrays(Path(folder) / ARRAYS, str(record.get("sha256")))
        try:
            judge = _assemble(record, arrays)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            said = f"{folder} is not a complete judge: {error!r}"
            raise ArtifactError(said, hint=AGAIN) from None
        return judge


def refuse_foreign(folder: Path) -> None:
    """Refuse to write a judge between other things.

    Raises
    ------
    ArtifactError
        When the folder holds something else than a judge.
    """
    folder = Path(folder)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name not in (RECORD, ARRAYS) and name[0] != "."]
    if others:
        raise ArtifactError(
            f"{folder} holds {others[0]}, which is no part of a judge",
            hint="choose an empty or a new folder with -o",
        )


def _read_arrays(path: Path, sha: str) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise ArtifactError(f"no such file: {path}", hint="it belongs to the judge")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ResourceError.of("read", path, error) from None
    if hashlib.sha256(raw).hexdigest() != sha:
        raise ArtifactError(f"{path} is not the file that {RECORD} was written with", hint=AGAIN)
    try:
        return dict(load(raw))
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a safetensors file: {error}", hint=AGAIN) from None


def _assemble(record: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LinearJudge:
    vocabularies = []
    for block in record["blocks"]:
        grams = tuple(arrays[f"{block}.grams"].tobytes().decode().split("\n"))
        vocabularies.append(Vocabulary(block, grams, arrays[f"{block}.idf"].astype(np.float64)))
    classes, coefficients = tuple(record["classes"]), arrays["coefficients"]
    shape = (sum(len(v.grams) for v in vocabularies), len(classes))
    if coefficients.shape != shape or arrays["intercepts"].shape != shape[1:]:
        raise ValueError(f"coefficients of shape {coefficients.shape} where {shape} is needed")
    for vocabulary in vocabularies:
        if vocabulary.idf.shape != (len(vocabulary.grams),):
            raise ValueError(f"the {vocabulary.block} block has another number of weights")
    head = ("kind", "format", "classes", "blocks", "sha256")
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("a class is no text")
    _check_reliability(record["reliability"])
    rest = {name: value for name, value in record.items() if name not in head}
    return LinearJudge(classes, tuple(vocabularies), coefficients, arrays["intercepts"], rest)


def _check_reliability(reliability: Any) -> None:
    if not isinstance(reliability, dict):
        raise ValueError("the reliability is no object")
    for name in ("macro_f1", "accuracy", "n") if reliability else ():
        if not isinstance(reliability.get(name), (int, float)):
            raise ValueError(f"the reliability lacks {name!r}")

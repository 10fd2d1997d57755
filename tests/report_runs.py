"""A run folder with made-up but plausible artifacts, as large or as unfinished as a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emo.analysis.directions import Directions
from emo.analysis.intervals import wilson
from emo.analysis.score import rank_units
from emo.analysis.scores import Scores, UnitScores
from emo.artifacts import write_json
from emo.data.samples import VALENCES, Sample
from emo.data.texts import Text, Verdict, text_id, write_texts, write_verdicts
from emo.sites import Site

EMOTIONS = ("anger", "sadness", "happiness", "fear", "surprise", "disgust")
_SITUATIONS = {
    "positive": "I asked for a window seat on the night train. The conductor gave me a whole "
    "compartment and a blanket.",
    "neutral": "I handed in the forms at the second counter. The clerk stamped them and passed "
    "me a receipt.",
    "negative": "I left my bicycle by the library. When I came back only the lock was there.",
}
_REPLIES = {
    "anger": "Are you serious? Somebody should answer for this, and I will not let it go.",
    "sadness": "It all feels so empty now. I keep looking at the place where it used to be.",
    "happiness": "What a lovely surprise! I could not have hoped for a better day.",
    "fear": "I keep checking the door. What if they come back while I am alone?",
    "surprise": "Wait, what? I never saw that coming, not in a hundred years!",
    "disgust": "Ugh, the smell alone makes my stomach turn. Keep it away from me.",
    "neutral": "The office is open from nine to five on weekdays.",
}


@dataclass(frozen=True)
class Made:
    """What a made-up run should look like."""

    emotions: tuple[str, ...] = EMOTIONS
    n_layers: int = 28
    n_heads: int = 24
    n_neurons: int = 96
    n_samples: int = 36
    n_points: int = 240
    accuracy: dict[str, float] = field(
        default_factory=lambda: {"prompting": 0.86, "steering": 0.6, "random": 0.13}
    )
    model_name: str = "example/Llama-3.2-3B-Instruct"
    reply: str = ""
    theme: str = "work"
    strain: float = 1.0
    seed: int = 0


def write_run(folder: Path, made: Made | None = None) -> Path:
    """Write every artifact of a finished run and return the folder."""
    made = made or Made()
    rng = np.random.default_rng(made.seed)
    write_json(folder / "run.json", _configuration(made))
    write_json(
        folder / "data.json", {"discovery": _stats(160), "test": _stats(made.n_samples // 3)}
    )
    texts, verdicts = _texts(made, rng)
    write_texts(folder / "texts.jsonl", texts)
    write_verdicts(folder / "verdicts.jsonl", verdicts)
    write_json(folder / "strength.json", _strength(made))
    write_json(folder / "summary.json", _summary(made, texts, verdicts))
    _directions(made, rng).save(folder / "directions.safetensors")
    _scores(made, rng).save(folder / "scores.safetensors")
    write_json(folder / "geometry.json", _geometry(made, rng))
    return folder


def _configuration(made: Made) -> dict[str, Any]:
    return {
        "model": {
            "name": made.model_name,
            "weight_sha": "9f2c" * 16,
            "family": "llama",
            "n_layers": made.n_layers,
            "d_model": 3072,
            "n_heads": made.n_heads,
        },
        "data": {
            "discovery": {"sha": "1a2b" * 16, "n": 480},
            "test": {"sha": "3c4d" * 16, "n": made.n_samples},
        },
        "options": {
            "emotions": list(made.emotions),
            "sites": ["resid_mid", "resid_post", "mlp_act", "head_out"],
            "alphas": [0.15, 0.3, 0.6, 1.0],
            "depths": ["0.1-0.4", "0.3-0.6", "0.5-0.8", "0.2-0.8"],
            "smoke": False,
            "revision": None,
        },
        "version": "0.1.0",
        "seed": made.seed,
    }


def _stats(n: int) -> dict[str, Any]:
    themes = ("family", "friends", "health", "leisure", "money", "school", "travel", "work")
    return {
        "samples": 3 * n,
        "scenarios": n,
        "themes": {theme: 3 * n // len(themes) for theme in themes},
        "valences": dict.fromkeys(VALENCES, n),
        "words": {"mean": 31.4, "min": 18, "max": 52, "different": 2210 + n},
    }


def _texts(made: Made, rng: np.random.Generator) -> tuple[list[Text], list[Verdict]]:
    texts, verdicts = [], []
    labels = [*made.emotions, "neutral"]
    for i in range(made.n_samples):
        valence = VALENCES[i % 3]
        name = f"{made.theme}-{i:02}-{valence}"
        first, _, second = _SITUATIONS[valence].partition(". ")
        source = Sample(name, name, valence=valence, scenario=first + ".", event=second)
        asked: list[tuple[str | None, str]] = [(None, "baseline")]
        asked += [(e, method) for e in made.emotions for method in made.accuracy]
        for emotion, method in asked:
            rate = made.accuracy.get(method, 0.0) - 0.15 * (emotion == "disgust")
            habit = "neutral" if rng.random() < 0.5 else str(rng.choice(labels))
            label = emotion if emotion and rng.random() < rate else habit
            reply = made.reply or _REPLIES.get(label, _REPLIES["neutral"])
            key = text_id(name, emotion, method)
            n_tokens = int(rng.integers(14, 40))
            stopped = bool(rng.random() < 0.8)
            texts.append(Text(key, source, emotion, method, reply, "0" * 64, n_tokens, stopped))
            silent = rng.random() < 0.02
            verdicts.append(
                Verdict(
                    key,
                    name,
                    emotion,
                    method,
                    None if silent else label,
                    "unknown-words" if silent else None,
                    None if silent else round(float(rng.uniform(0.4, 0.99)), 3),
                    "linear-3fa9c1d2",
                )
            )
    return texts, verdicts


def _rate(hits: list[bool], unlabelled: int) -> dict[str, Any]:
    return _share(sum(hits), len(hits), unlabelled)


def _share(hits: int, n: int, unlabelled: int = 0) -> dict[str, Any]:
    if not n:
        return {"accuracy": None, "low": None, "high": None, "n": 0, "unlabelled": unlabelled}
    low, high = wilson(hits, n)
    return {"accuracy": hits / n, "low": low, "high": high, "n": n, "unlabelled": unlabelled}


def _summary(made: Made, texts: list[Text], verdicts: list[Verdict]) -> dict[str, Any]:
    perplexity = {"baseline": 11.8, "prompting": 12.6, "steering": 19.4, "random": 17.9}
    valence = {text.id: text.source.valence for text in texts}
    methods: dict[str, Any] = {}
    for method in ("baseline", *made.accuracy):
        mine = [v for v in verdicts if v.method == method]
        by: dict[str, Any] = {}
        for emotion in made.emotions:
            for name in VALENCES:
                rows = [v for v in mine if valence[v.id] == name]
                rows = [v for v in rows if v.emotion in (emotion, None)]
                hits = [v.label == emotion for v in rows if v.label is not None]
                by.setdefault(emotion, {})[name] = _rate(hits, len(rows) - len(hits))
        total = [v for v in mine if v.label is not None]
        row = _rate([v.label == v.emotion for v in total], len(mine) - len(total))
        if method == "baseline":
            k = len(made.emotions)
            named = _rate([v.label != "neutral" for v in total], len(mine) - len(total))
            row = named | {name: named[name] / k for name in ("accuracy", "low", "high")}
            row["neutral_share"] = 1 - named["accuracy"]
        if method == "prompting":
            row["perplexity_named"] = 9.7
        methods[method] = row | {"perplexity": perplexity.get(method, 15.0), "by": by}
    strength = _strength(made)
    return {
        "methods": methods,
        "judge": {"name": "linear-3fa9c1d2", "coverage": 0.97, "reliability": _reliability(made)},
        "seconds": {"generate": 412.5, "judge": 3.2, "capture": 188.0, "directions": 2.4,
                    "score": 6.9, "strength": 950.3, "evaluate": 612.8, "geometry": 21.0},
        "quality": {m: {"distinct2": 0.71, "takes_word": 0.46, "n": 60} for m in methods},
        "steering": (strength["choice"] or strength["mildest"])
        | {"relative": "norm", "scope": "both", "scenarios": None,
           "within_limit": strength["choice"] is not None},
    }  # fmt: skip


def _reliability(made: Made) -> dict[str, Any]:
    recall = {name: round(0.5 + 0.06 * i, 4) for i, name in enumerate(made.emotions[:6])}
    return {
        "method": "5-fold cross-validation, near-duplicates kept together",
        "n": 5300,
        "accuracy": 0.671,
        "macro_f1": 0.642,
        "recall": recall | {"neutral": 0.71},
        "coverage": 0.994,
    }


def _strength(made: Made) -> dict[str, Any]:
    spans = [(0.1, 0.35), (0.4, 0.6), (0.4, 0.8), (0.7, 0.95)]
    grid = []
    for i, (start, stop) in enumerate(spans):
        layers = list(range(int(start * made.n_layers), max(int(stop * made.n_layers), 1)))
        for position, bonus in (("last", 0.0), ("reply", 0.05)):
            for alpha in (0.15, 0.3, 0.6, 1.0):
                pull = (0.4, 1.0, 1.3, 0.7)[i] * alpha * 2 + bonus
                ratio = float(np.exp(0.5 * pull + 0.35 * (alpha * 2) ** 2)) * made.strain
                accuracy = float(0.12 + 0.62 * (1 - np.exp(-1.3 * pull)) * np.exp(-alpha / 4))
                row = {"layers": layers, "alpha": alpha, "position": position}
                row |= {"perplexity": 11.8 * ratio, "perplexity_ratio": ratio}
                grid.append(row | _share(round(accuracy * 144), 144))
    inside = [row for row in grid if row["perplexity_ratio"] <= 3]
    return {
        "choice": max(inside, key=lambda row: row["accuracy"]) if inside else None,
        "mildest": min(grid, key=lambda row: row["perplexity"]),
        "grid": grid,
        "baseline_perplexity": 11.8,
        "limit_ratio": 3.0,
        "relative": "norm",
        "scope": "both",
    }


def _directions(made: Made, rng: np.random.Generator) -> Directions:
    sites = [Site(i, part) for i in range(made.n_layers) for part in ("resid_mid", "resid_post")]
    n = len(made.emotions)
    unit = {site: rng.standard_normal((n, 8)).astype(np.float32) for site in sites}
    growth = {site: np.exp(site.layer / made.n_layers * 3) for site in sites}
    return Directions(
        labels=tuple(sorted(made.emotions)),
        method="within-group",
        position="last",
        unit=unit,
        norms={s: growth[s] * (0.8 + 0.5 * np.arange(1, n + 1) / n) for s in sites},
        delta={},
        counts=dict.fromkeys(sorted(made.emotions), 412),
        groups={"complete": 412, "incomplete": 61, "repeated": 7},
        accepted=np.ones(4, np.bool_),
        provenance={},
    )


def _scores(made: Made, rng: np.random.Generator) -> Scores:
    units = {
        "neuron": _unit_scores("neuron", made, made.n_neurons, rng),
        "head": _unit_scores("head", made, made.n_heads, rng),
    }
    return Scores(tuple(sorted(made.emotions)), "last", units, {})


def _unit_scores(kind: str, made: Made, n_units: int, rng: np.random.Generator) -> UnitScores:
    shape = (len(made.emotions), made.n_layers, n_units)
    depth = np.linspace(0.2, 1.0, made.n_layers)[:, None] ** 2
    mean = rng.standard_t(3, shape) * 0.05 * depth
    sd = np.abs(mean) * 0.8 + 0.02
    half = 1.97 * sd / np.sqrt(412)
    n = np.full(len(made.emotions), 412, np.int64)
    positive = 1 / (1 + np.exp(-2 * mean / sd))
    layers = tuple(range(made.n_layers))
    return UnitScores(
        kind, layers, n, mean, sd, mean - half, mean + half, positive, rank_units(mean)
    )


def _geometry(made: Made, rng: np.random.Generator) -> dict[str, Any]:
    labels = [made.emotions[i % len(made.emotions)] for i in range(made.n_points)]
    angles = {name: 2 * np.pi * i / len(made.emotions) for i, name in enumerate(made.emotions)}
    layers = []
    for layer in range(made.n_layers):
        depth = layer / max(made.n_layers - 1, 1)
        pull = 4.5 * np.exp(-(((depth - 0.6) / 0.35) ** 2))
        centres = np.array([[np.cos(angles[x]), np.sin(angles[x])] for x in labels])
        points = pull * centres + rng.standard_normal((made.n_points, 2))
        f1 = 0.17 + 0.78 * (1 - np.exp(-pull * 0.9))
        layers.append(
            {
                "layer": layer,
                "pca": {
                    "points": points.tolist(),
                    "labels": labels,
                    "explained": [0.21 + 0.3 * depth, 0.12 + 0.1 * depth],
                    "null": 0.06 + 0.03 * depth,
                },
                "probe": {"f1": f1, "low": f1 - 0.04, "high": min(f1 + 0.035, 1.0),
                          "shuffled": 0.165 + 0.01 * float(rng.standard_normal())},
            }
        )  # fmt: skip
    sublayers = [f"L{i}.{part}" for i in range(made.n_layers) for part in
                 ("resid_mid", "resid_post")]  # fmt: skip
    place = np.arange(len(sublayers)) / len(sublayers)
    gap = np.abs(np.subtract.outer(place, place))
    middle = np.exp(-(((np.add.outer(place, place) / 2 - 0.75) / 0.4) ** 2))
    matrix = np.exp(-gap * (7 - 5 * middle)) - 0.12 * gap
    np.fill_diagonal(matrix, 1.0)
    cosine = {"sublayers": sublayers, "matrix": matrix.tolist()}
    return {"layers": layers, "cosine": cosine, **_across(made, rng, matrix[1::2, 1::2])}


def _across(made: Made, rng: np.random.Generator, near: np.ndarray) -> dict[str, Any]:
    """Layers that are the more alike the nearer they are, with some noise."""
    sites = [f"L{i}.resid_post" for i in range(made.n_layers)]
    noise = rng.normal(0, 0.08, near.shape)
    r = np.clip(near + (noise + noise.T) / 2, -1, 1)
    np.fill_diagonal(r, 1.0)
    p = np.clip(10.0 ** (-6 * r), 1 / 720, 1)
    k, d = len(made.emotions) - 1, 3072
    rsa = {
        "sites": sites,
        "r": r.tolist(),
        "p": (p / 2).tolist(),
        "p_family": p.tolist(),
        "null_max": 0.71,
        "n": k + 1,
        "permutations": 720,
        "exact": True,
        "metric": "cosine",
        "correlation": "pearson",
        "warnings": [],
    }
    overlap = {
        "sites": sites,
        "overlap": np.clip(near**2, 0, 1).tolist(),
        "k": [k] * len(sites),
        "d": d,
        "chance": k / d,
        "null_low": 0.0006,
        "null_high": 0.0031,
    }
    return {"rsa": rsa, "overlap": overlap}  # fmt: skip


if __name__ == "__main__":
    import sys

    from emo.report import build

    print(build(write_run(Path(sys.argv[1]))))

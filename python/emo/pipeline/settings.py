"""What decides the outcome of a run, and the data it divides into discovery and test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.data.samples import DEFAULT_EMOTIONS, Sample, read_samples, scenario_text
from emo.errors import DataError

_SMOKE_SCENARIOS = 10


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run; every field but the last is part of ``run.json``.

    Parameters
    ----------
    emotions : tuple of str
        Targets.
    judge : str
        As `emo.judge.open_judge` reads it.
    seed : int
        Of every draw: splits, parts of the data, random vectors, probes.
    limit : int or None
        Use only the first scenarios of each set.
    grid_scenarios : int
        Discovery scenarios on which strengths are tried.
    steer_scenarios : int or None
        Test scenarios for steering and its control; all when None.
    alphas, prompt_alphas : tuple of float
        Strengths to try, in multiples of the norm of the residual stream, on all tokens from
        the last of the prompt on, and on the last of the prompt alone.
    depths : tuple of str
        Layer ranges to try, as shares of the depth.
    max_new_tokens : int
        Longest reply.
    dtype : str
        Number format of the captured activations.
    batch_size : int or None
        Rows of a batch of generation.
    """

    emotions: tuple[str, ...] = DEFAULT_EMOTIONS
    judge: str = "linear"
    seed: int = 0
    limit: int | None = None
    grid_scenarios: int = 8
    steer_scenarios: int | None = None
    alphas: tuple[float, ...] = (0.15, 0.3, 0.6)
    prompt_alphas: tuple[float, ...] = (0.6, 1.2, 1.8)
    depths: tuple[str, ...] = ("0.0-0.16", "0.1-0.4", "0.3-0.6", "0.5-0.8", "0.2-0.8")
    max_new_tokens: int = 60
    dtype: str = "bf16"
    batch_size: int | None = None


SMOKE = RunSettings(
    limit=_SMOKE_SCENARIOS,
    grid_scenarios=2,
    alphas=(0.3,),
    prompt_alphas=(1.5,),
    depths=("0.0-0.16", "0.3-0.6"),
)

# Of ``emo demo``: steering on a part of the test scenarios, and fewer settings to choose from.
DEMO = RunSettings(steer_scenarios=40, alphas=(0.3,), depths=RunSettings.depths[:-1])


def scenario_of(sample: Sample) -> str:
    """Key of the scenario that a sample tells an outcome of.

    >>> scenario_of(Sample("w-positive", "w-positive", valence="positive", text="..."))
    'w'
    """
    if sample.valence is None:
        return sample.group
    return sample.group.removesuffix(f"-{sample.valence}")


def divide(
    data: Path, test_data: Path | None, settings: RunSettings
) -> tuple[list[Sample], list[Sample]]:
    """Read the discovery and the test set; without the second, split the first by scenario.

    Raises
    ------
    DataError
        When the data cannot be read, holds labelled sentences instead of scenarios with
        events, is too small, or shares scenarios between the two sets.
    """
    discovery = _events(data)
    if test_data is None:
        scenarios = sorted({scenario_of(sample) for sample in discovery})
        if len(scenarios) < 2:
            raise DataError(
                f"{data} holds {len(scenarios)} scenario: too few to split off a test",
                hint="add scenarios, or give --test-data",
            )
        random.Random(settings.seed).shuffle(scenarios)
        held_out = set(scenarios[: max(1, len(scenarios) // 2)])
        test = [sample for sample in discovery if scenario_of(sample) in held_out]
        discovery = [sample for sample in discovery if scenario_of(sample) not in held_out]
    else:
        test = _events(test_data)
        known = {scenario_text(sample) for sample in discovery}
        shared = [sample.id for sample in test if scenario_text(sample) in known]
        if shared:
            raise DataError(
                f"{len(shared)} samples of the test data tell a scenario of the discovery data, "
                f"first {shared[0]}",
                hint="give two sets without common scenarios, or leave out --test-data",
            )
    return _first(discovery, settings.limit), _first(test, settings.limit)


def part(samples: Sequence[Sample], n_scenarios: int | None, seed: int) -> list[Sample]:
    """Draw whole scenarios at random; the samples keep their order."""
    scenarios = sorted({scenario_of(sample) for sample in samples})
    if n_scenarios is None or n_scenarios >= len(scenarios):
        return list(samples)
    chosen = set(random.Random(seed).sample(scenarios, n_scenarios))
    return [sample for sample in samples if scenario_of(sample) in chosen]


def data_statistics(samples: Sequence[Sample]) -> dict[str, Any]:
    """Count samples and words for the report: ``data.json``."""
    from emo.data.words import words

    lengths = [len(words(sample.content)) for sample in samples]
    different = {word.lower() for sample in samples for word in words(sample.content)}
    return {
        "samples": len(samples),
        "scenarios": len({scenario_of(sample) for sample in samples}),
        "themes": _counted(sample.theme for sample in samples),
        "valences": _counted(sample.valence for sample in samples),
        "words": {
            "mean": round(sum(lengths) / len(lengths), 1),
            "min": min(lengths),
            "max": max(lengths),
            "different": len(different),
        },
    }


def _counted(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _events(path: Path) -> list[Sample]:
    samples = read_samples(path)
    plain = [sample.id for sample in samples if sample.text is not None]
    if plain:
        raise DataError(
            f"{path} holds labelled sentences (first {plain[0]}), but a run needs scenarios "
            "with events",
            hint="for sentences: emo capture, then emo directions --method minus-neutral",
        )
    return samples


def _first(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    kept = list(dict.fromkeys(scenario_of(sample) for sample in samples))[:limit]
    return [sample for sample in samples if scenario_of(sample) in set(kept)]

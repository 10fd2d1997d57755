"""All stages from a model and data to ``summary.json`` and ``report.html``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from emo.analysis.directions import Directions, directions
from emo.analysis.rows import accepted_ids
from emo.analysis.score import open_checkpoint, score
from emo.artifacts import package_version, read_input, read_json, write_json, write_jsonl
from emo.data.partial import PartFile
from emo.data.prompts import PromptBuilder
from emo.data.samples import DEFAULT_EMOTIONS, samples_hash, scenario_text
from emo.data.texts import (
    read_texts,
    read_verdicts,
    write_texts,
    write_verdicts,
)
from emo.errors import UsageError, did_you_mean
from emo.experiments.capture import CaptureSettings, capture, items_from_texts
from emo.experiments.elicit import Push
from emo.experiments.evaluate import methods_table
from emo.experiments.fluency import likelihoods, quality
from emo.experiments.probes import geometry
from emo.experiments.replies import elicit_kept
from emo.experiments.strength import Plan, Strength, choose
from emo.judge import Judge, open_judge
from emo.judge.protocol import coverage, measured
from emo.judge.run import judge_settings, judge_texts
from emo.model.language_model import LanguageModel
from emo.pipeline.folder import (
    Stage,
    check_configuration,
    hashes,
    refuse_foreign,
    run_stages,
)
from emo.pipeline.settings import RunSettings, data_statistics, divide, part
from emo.report import build
from emo.store import Store, folder_lock

POSITIONS = ("last", "reply")
Report = Callable[[int, int], None]
_Asked = tuple[list[Any], str, Push | None]


class Talk(Protocol):
    """How a run tells what it is doing."""

    def stage(self, name: str, done: bool) -> None:
        """Say that a stage begins, or was done before."""

    def progress(self, label: str) -> AbstractContextManager[Report]:
        """Show progress: yields ``report(done, total)``."""


def run(
    load: Callable[[], LanguageModel],
    data: Path,
    test_data: Path | None,
    folder: Path,
    settings: RunSettings,
    talk: Talk,
    *,
    device: str = "auto",
    check: Path | None = None,
) -> dict[str, Any]:
    """Run every stage that is not done yet in `folder`; returns ``summary.json``.

    Parameters
    ----------
    load : callable
        Loads the model.
    data, test_data : Path
        Discovery data, on which everything is chosen, and test data, on which it is measured;
        without the second the first is split by scenario.
    folder : Path
        The run folder, made when missing.
    settings : RunSettings
    talk : Talk
    device : str
        Where a Hugging Face judge runs.
    check : Path, optional
        Labelled texts on which the judge's reliability is measured; else it is what the judge
        knows about itself.

    Raises
    ------
    UsageError
        When there are fewer than two emotions, or the judge does not know one.
    SettingsError
        When the folder was begun with other settings; each differing field is named.
    ArtifactError
        When the folder holds something else than a run.
    EmoError
        What the stages raise; finished stages stay done.
    """
    refuse_foreign(folder)
    discovery, test = divide(Path(data), test_data and Path(test_data), settings)
    judge = open_judge(
        settings.judge,
        emotions=tuple(dict.fromkeys((*DEFAULT_EMOTIONS, *settings.emotions))),
        device=device,
        batch_size=settings.batch_size,
    )
    _check_emotions(settings.emotions, judge)
    model = load()
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        work = _Run(model, judge, folder, settings, talk)
        check_configuration(
            folder,
            {
                "model": {k: v for k, v in model.describe().items() if k != "folder"},
                "data": {
                    name: {"sha256": samples_hash(samples), "n": len(samples)}
                    for name, samples in (("discovery", discovery), ("test", test))
                },
                "prompts": work.builder.template_sha,
                "judge": {
                    "name": judge.name,
                    "classes": list(judge.classes),
                    "check": check and hashlib.sha256(read_input(check)).hexdigest(),
                },
                # The size of a batch changes no more than rounding, and memory may ask for less.
                "options": {k: v for k, v in asdict(settings).items() if k != "batch_size"},
                "seed": settings.seed,
                "version": package_version(),
            },
        )
        work.discovery, work.test, work.check = discovery, test, check
        seconds = run_stages(folder, work.stages(), talk.stage)
        return work.summarise(seconds)


def _check_emotions(emotions: tuple[str, ...], judge: Judge) -> None:
    if len(emotions) < 2:
        raise UsageError(
            f"a run needs at least two emotions, there is {', '.join(emotions)}",
            hint="name more with --emotions",
        )
    for emotion in emotions:
        if emotion not in judge.classes:
            raise UsageError(
                f"the judge {judge.name} cannot say {emotion!r}",
                hint=did_you_mean(emotion, judge.classes),
            )


class _Run:
    """The stages of one run; each reads and writes artifacts of the folder."""

    def __init__(
        self, model: LanguageModel, judge: Judge, folder: Path, settings: RunSettings, talk: Talk
    ) -> None:
        self.model, self.judge, self.folder = model, judge, folder
        self.settings, self.talk = settings, talk
        self.builder = PromptBuilder(model.tokenizer)
        self.discovery: list[Any] = []
        self.test: list[Any] = []
        self.check: Path | None = None

    def stages(self) -> list[Stage]:
        found = ("texts-discovery.jsonl", "verdicts-discovery.jsonl")
        both = tuple(f"directions-{position}.safetensors" for position in POSITIONS)
        chosen = ("strength.json", "directions.safetensors")
        return [
            Stage("data", ("run.json",), ("data.json",), self._data),
            Stage("reliability", ("run.json",), ("reliability.json",), self._reliability),
            Stage("elicit", ("run.json",), found[:1], self._elicit),
            Stage("judge", found[:1], found[1:], self._judge_discovery),
            Stage("capture", found[:1], ("store",), self._capture),
            Stage("directions", (*found[1:], "store"), both, self._directions),
            Stage("strength", both, chosen, self._strength),
            Stage("score", (chosen[1], "store"), ("scores.safetensors",), self._score),
            Stage("generate", chosen, ("texts.jsonl",), self._generate),
            Stage("verdicts", ("texts.jsonl",), ("verdicts.jsonl",), self._judge_test),
            Stage("fluency", ("texts.jsonl",), ("likelihoods.jsonl",), self._fluency),
            Stage("geometry", (chosen[1], "store", *found[1:]), ("geometry.json",), self._geometry),
        ]

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _part(self, output: str, *reads: str) -> PartFile:
        """Rows of a stage that was interrupted; what it reads must be the same."""
        return PartFile(self._path(output), hashes(self.folder, reads))

    def _data(self) -> None:
        statistics = {
            "discovery": data_statistics(self.discovery),
            "test": data_statistics(self.test),
        }
        write_json(self._path("data.json"), statistics)

    def _texts(self, output: str, asked: Sequence[_Asked]) -> None:
        """Elicit by one method after the other into one file; finished rows are kept beside it."""
        texts, parts = [], []
        for samples, method, push in asked:
            with self.talk.progress(f"generate: {method}") as report:
                found, part = elicit_kept(
                    self._path(f"{output}.{method}"),
                    self.model,
                    samples,
                    emotions=self.settings.emotions,
                    method=method,
                    builder=self.builder,
                    push=push,
                    max_new_tokens=self.settings.max_new_tokens,
                    batch_size=self.settings.batch_size,
                    progress=report,
                )
            texts += found
            parts.append(part)
        write_texts(self._path(output), texts)
        for part in parts:
            part.remove()

    def _elicit(self) -> None:
        self._texts("texts-discovery.jsonl", [(self.discovery, "prompting", None)])

    def _judge(self, texts: str, verdicts: str) -> None:
        rows = read_texts(self._path(texts))
        part = PartFile(self._path(verdicts), judge_settings(self.judge, rows))
        with self.talk.progress("judge") as report:
            found = judge_texts(self.judge, rows, part=part, progress=report)
        write_verdicts(self._path(verdicts), found)
        part.remove()

    def _reliability(self) -> None:
        known = dict(self.judge.reliability)
        record = known if self.check is None else measured(self.judge, self.check)
        write_json(self._path("reliability.json"), record)

    def _judge_discovery(self) -> None:
        self._judge("texts-discovery.jsonl", "verdicts-discovery.jsonl")

    def _judge_test(self) -> None:
        self._judge("texts.jsonl", "verdicts.jsonl")

    def _capture(self) -> None:
        texts = [t for t in read_texts(self._path("texts-discovery.jsonl")) if t.reply]
        with self.talk.progress("capture") as report:
            capture(
                self.model,
                items_from_texts(texts, self.builder),
                self._path("store"),
                CaptureSettings(positions=POSITIONS, dtype=self.settings.dtype),
                template_sha=self.builder.template_sha,
                progress=report,
            )

    def _accepted(self) -> set[str]:
        return set(accepted_ids(read_verdicts(self._path("verdicts-discovery.jsonl"))))

    def _directions(self) -> None:
        store, accepted = Store.open(self._path("store")), self._accepted()
        for position in POSITIONS:
            found = directions(store, accepted, position=position)
            found.save(self._path(f"directions-{position}.safetensors"))

    def _strength(self) -> None:
        settings = self.settings
        names = {position: f"directions-{position}.safetensors" for position in POSITIONS}
        found = {position: Directions.load(self._path(name)) for position, name in names.items()}
        kept = self._part("strength.json", *names.values())
        with self.talk.progress("strength") as report:
            strength = choose(
                self.model,
                part(self.discovery, settings.grid_scenarios, settings.seed),
                found,
                self.judge,
                self.builder,
                emotions=settings.emotions,
                plan=Plan(
                    depths=settings.depths,
                    alphas=settings.alphas,
                    prompt_alphas=settings.prompt_alphas,
                    relative="norm",
                    max_new_tokens=settings.max_new_tokens,
                    batch_size=settings.batch_size,
                ),
                held_out={scenario_text(sample) for sample in self.test},
                seed=settings.seed,
                part=kept,
                progress=report,
            )
        write_json(self._path("strength.json"), strength.to_json())
        found[_cell(strength).position].save(self._path("directions.safetensors"))
        kept.remove()

    def _push(self) -> Push:
        record = read_json(self._path("strength.json"), "strength")
        cell = record["choice"] or record["mildest"]
        return Push(
            Directions.load(self._path("directions.safetensors")),
            tuple(cell["layers"]),
            cell["alpha"],
            record["relative"],
            cell["scope"],
        )

    def _score(self) -> None:
        store = Store.open(self._path("store"))
        found = Directions.load(self._path("directions.safetensors"))
        checkpoint = open_checkpoint(store, self.model.folder)
        score(store, found, checkpoint).save(self._path("scores.safetensors"))

    def _generate(self) -> None:
        push, settings = self._push(), self.settings
        steered = part(self.test, settings.steer_scenarios, settings.seed)
        asked = [
            (self.test, "baseline", None),
            (self.test, "prompting", None),
            (steered, "steering", push),
            (steered, "random", push.randomised(settings.seed)),
        ]
        self._texts("texts.jsonl", asked)

    def _fluency(self) -> None:
        texts = read_texts(self._path("texts.jsonl"))
        prompted = [text for text in texts if text.method == "prompting"]
        kept = [self._part(f"likelihoods.jsonl.{n}", "texts.jsonl") for n in ("plain", "named")]
        with self.talk.progress("fluency") as report:
            plain = likelihoods(self.model, texts, self.builder, part=kept[0], progress=report)
        with self.talk.progress("fluency of prompting") as report:
            named = likelihoods(
                self.model, prompted, self.builder, named=True, part=kept[1], progress=report
            )
        rows = [
            {"id": t.id, "plain": plain[t.id], "named": named.get(t.id)}
            for t in texts
        ]  # fmt: skip
        write_jsonl(self._path("likelihoods.jsonl"), rows)
        for sums in kept:
            sums.remove()

    def _geometry(self) -> None:
        found = Directions.load(self._path("directions.safetensors"))
        reads = ("directions.safetensors", "store", "verdicts-discovery.jsonl")
        kept = self._part("geometry.json", *reads)
        with self.talk.progress("geometry") as report:
            record = geometry(
                Store.open(self._path("store")),
                found,
                self._accepted(),
                position=found.position,
                seed=self.settings.seed,
                part=kept,
                progress=report,
            )
        write_json(self._path("geometry.json"), record)
        kept.remove()

    def summarise(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Write ``summary.json`` and ``report.html``; both are cheap and made anew."""
        texts = read_texts(self._path("texts.jsonl"))
        verdicts = read_verdicts(self._path("verdicts.jsonl"))
        lines = self._path("likelihoods.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        plain = {row["id"]: tuple(row["plain"]) for row in rows}
        named = {row["id"]: tuple(row["named"]) for row in rows if row["named"]}
        strength = read_json(self._path("strength.json"), "strength")
        push = self._push()
        summary = {
            "methods": methods_table(
                texts, verdicts, plain, named=named, emotions=self.settings.emotions
            ),
            "judge": {
                "name": self.judge.name,
                "coverage": coverage(verdicts),
                "reliability": read_json(self._path("reliability.json"), "reliability"),
            },
            "steering": push.settings()
            | {
                "position": push.directions.position,
                "scenarios": self.settings.steer_scenarios,
                "within_limit": strength["choice"] is not None,
            },
            "quality": quality(texts),
            "seconds": seconds,
        }
        write_json(self._path("summary.json"), summary)
        build(self.folder)
        return summary


def _cell(strength: Strength) -> Any:
    return strength.choice or strength.mildest

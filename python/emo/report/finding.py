"""The finding in plain words, computed from the numbers, null results included."""

from __future__ import annotations

from dataclasses import dataclass

from emo.report.compare import Difference, against, difference
from emo.report.folder import Run
from emo.report.rates import Method, Rate, Summary
from emo.report.records import Layer
from emo.report.wording import (
    counted,
    layer_range,
    listed,
    percent,
    percent_range,
    plain,
    points,
    short,
)

STRENGTH_UNITS = {"norm": "the length of the residual stream", "rms": "its RMS"}
_ASKED = {
    "prompting": "naming the emotion in the prompt",
    "circuit": "driving the emotion's circuit",
}


@dataclass(frozen=True)
class Finding:
    """One sentence that says what came out, those that support it, and what it rests on."""

    headline: str
    sentences: tuple[str, ...]
    caveat: str = ""


def finding(run: Run) -> Finding:
    """Word what a run has found so far."""
    if run.summary is None:
        return Finding("This run is not finished: nothing has been evaluated yet.", _so_far(run))
    summary = run.summary
    sentences = [
        _prompting(summary),
        *_steering(summary),
        _circuit(summary),
        _fluency(summary),
        _probe(run),
    ]
    kept = tuple(sentence for sentence in sentences if sentence)
    return Finding(_headline(summary), kept, _judge(summary))


def steering_gain(summary: Summary) -> Difference | None:
    """Steering minus random vectors of the same length."""
    steering, random = summary.methods.get("steering"), summary.methods.get("random")
    return difference(steering.rate if steering else None, random.rate if random else None)


def best_layer(layers: tuple[Layer, ...]) -> Layer | None:
    """Layer with the largest F1 of its probe; the first one of equals."""
    probed = [layer for layer in layers if "f1" in layer.probe]
    return max(probed, key=lambda layer: layer.probe["f1"], default=None)


def _headline(summary: Summary) -> str:
    steering = summary.methods.get("steering")
    if steering is None or steering.rate.accuracy is None:
        return "Steering has not been evaluated in this run."
    gain = steering_gain(summary)
    share = percent(steering.rate.accuracy, 0)
    if gain is None:
        return (
            f"Steering reached the wanted emotion in {share} of replies, but there is no "
            "random-vector control to compare it with."
        )
    control = percent(summary.methods["random"].rate.accuracy, 0)
    if summary.steering.get("within_limit") is False:
        return (
            "No strength of steering kept the replies fluent; the mildest gave the wanted emotion "
            f"in {share} of them, against {control} with random vectors."
        )
    if gain.verdict == "open":
        return (
            "Steering was not measurably better than random vectors: the wanted emotion in "
            f"{share} of replies, against {control}."
        )
    if gain.verdict == "below":
        return (
            "Steering did worse than random vectors: the wanted emotion in "
            f"{share} of replies, against {control}."
        )
    if against(steering.rate, summary.chance) != "above":
        return (
            f"Steering beat random vectors ({share} against {control} of replies), but not the "
            f"chance level of {percent(summary.chance)}."
        )
    return (
        f"The directions steer the model: the wanted emotion in {share} of replies, against "
        f"{control} with random vectors."
    )


def _prompting(summary: Summary) -> str:
    method = summary.methods.get("prompting")
    if method is None or method.rate.accuracy is None:
        return ""
    chance = summary.chance
    first = (
        f"With the emotion named in the prompt, the judge saw it in {_share(method.rate)} of "
        f"{counted(method.rate.n, 'reply', 'replies')}"
    )
    if chance is None:
        return first + "."
    asked = counted(len(summary.emotions), "emotion")
    level = f"replies that ignore which of the {asked} was wanted reach at most {percent(chance)}"
    verdict = against(method.rate, chance)
    if verdict == "above":
        return f"{first}; {level}."
    return f"{first}. That is no better than chance: {level}."


def _steering(summary: Summary) -> list[str]:
    method, random = summary.methods.get("steering"), summary.methods.get("random")
    if method is None or method.rate.accuracy is None:
        return []
    first = (
        f"With no emotion named, adding the emotion's direction{_where(summary)} gave it in "
        f"{_share(method.rate)}"
    )
    gain = steering_gain(summary)
    if gain is None or random is None:
        return [first + ". Without a random-vector control this number cannot be interpreted."]
    second = (
        f"{first}, random vectors of the same length in {_share(random.rate)}: a difference of "
        f"{points(gain.value)} percentage points ({points(gain.low)} to {points(gain.high)})."
    )
    broken = (
        "No setting kept the replies within the limit of perplexity, so the mildest was used."
        if summary.steering.get("within_limit") is False
        else ""
    )
    return [second, broken, *_null(gain), *_by_emotion(summary, method, random)]


def _null(gain: Difference) -> list[str]:
    if gain.verdict == "open":
        return [
            "This is a null result: the run gives no evidence that these directions, at this "
            "strength, control what the model writes; nor does it exclude a gain of "
            f"{points(gain.high)} points."
        ]
    if gain.verdict == "below":
        return ["The directions moved the replies away from the wanted emotions."]
    return []


def _by_emotion(summary: Summary, method: Method, random: Method) -> list[str]:
    sorted_out: dict[str, list[str]] = {"above": [], "open": [], "below": []}
    for emotion in summary.emotions:
        gain = difference(method.of(emotion), random.of(emotion))
        if gain is not None:
            sorted_out[gain.verdict].append(emotion)
    n = sum(len(names) for names in sorted_out.values())
    if n < 2 or n > 12:
        return []
    if len(sorted_out["above"]) == n:
        return [f"It beat the random vectors for each of the {n} emotions."]
    if len(sorted_out["open"]) == n:
        return ["No single emotion stood out from the random vectors either."]
    pieces = []
    if sorted_out["above"]:
        pieces.append(f"it beat the random vectors for {listed(sorted_out['above'])}")
    if sorted_out["open"]:
        pieces.append(f"could not be told from them for {listed(sorted_out['open'])}")
    if sorted_out["below"]:
        pieces.append(f"fell below them for {listed(sorted_out['below'])}")
    words = listed(pieces) if sorted_out["above"] else "it " + listed(pieces)
    return [f"By emotion, {words}."]


def _circuit(summary: Summary) -> str:
    method = summary.methods.get("circuit")
    if method is None or method.rate.accuracy is None:
        return ""
    return f"With no emotion named, {_ASKED['circuit']} gave it in {_share(method.rate)}."


def _fluency(summary: Summary) -> str:
    steering, baseline = summary.methods.get("steering"), summary.methods.get("baseline")
    if steering is None or baseline is None:
        return ""
    after, before = steering.rate.perplexity, baseline.rate.perplexity
    if not after or not before:
        return ""
    ratio = after / before
    words = f"to {short(after)} from {short(before)} without steering (× {short(ratio, 2)})"
    verb = "rose" if ratio >= 1.005 else "fell" if ratio <= 0.995 else "stayed the same: it went"
    return f"The perplexity of the replies {verb} {words}."


def _probe(run: Run) -> str:
    best = best_layer(run.geometry.layers) if run.geometry is not None else None
    if best is None:
        return ""
    f1, control = best.probe["f1"], best.probe.get("shuffled")
    words = f"A linear probe reads the emotion best at layer {best.layer}: macro-F1 {short(f1, 2)}"
    if control is None:
        return words + "."
    low = best.probe.get("low", f1)
    if low <= control:
        return f"{words}, which is no better than with shuffled labels ({short(control, 2)})."
    return f"{words}, against {short(control, 2)} with shuffled labels."


def _judge(summary: Summary) -> str:
    name = str(summary.judge.get("name") or "an unnamed judge")
    covered = summary.judge.get("coverage")
    if isinstance(covered, int | float):
        name += f" (it labelled {percent(covered, 0)} of the replies)"
    reliability = summary.judge.get("reliability") or {}
    f1, accuracy = reliability.get("macro_f1"), reliability.get("accuracy")
    if f1 is None and accuracy is None:
        return (
            f"The accuracies are the word of one judge, {name}, whose reliability has not been "
            "measured."
        )
    measure = f"macro-F1 {short(f1, 2)}" if f1 is not None else f"accuracy {percent(accuracy, 0)}"
    return (
        f"The accuracies are the word of one judge, {name}, which reached {measure} on labelled "
        "texts it was not trained on: trust differences between methods more than levels."
    )


def _where(summary: Summary) -> str:
    layers, alpha = summary.steering.get("layers"), summary.steering.get("alpha")
    words = ""
    if isinstance(layers, list) and layers:
        words += f" at layer{'s' if len(layers) > 1 else ''} {layer_range(layers)}"
    if isinstance(alpha, int | float):
        unit = STRENGTH_UNITS.get(str(summary.steering.get("relative")), "")
        words += f" (α = {plain(alpha)}{unit and ' × ' + unit})"
    return words


def _share(rate: Rate) -> str:
    return f"{percent(rate.accuracy, 0)} ({percent_range(rate.low, rate.high)})"


def _so_far(run: Run) -> tuple[str, ...]:
    """Say what an unfinished run does hold."""
    done = []
    if run.texts is not None:
        done.append(counted(len(run.texts), "reply", "replies"))
    if run.verdicts is not None:
        done.append(counted(len(run.verdicts), "verdict"))
    if run.directions is not None:
        done.append(f"directions of {counted(len(run.directions.labels), 'emotion')}")
    if run.scores is not None:
        done.append("unit scores")
    if run.strength is not None:
        done.append("a strength grid")
    if run.geometry is not None:
        done.append(f"the geometry of {counted(len(run.geometry.layers), 'layer')}")
    words = f"So far it holds {listed(done)}." if done else "So far it holds its settings only."
    rest = "The same command goes on where it stopped."
    return tuple(sentence for sentence in (words, _probe(run), rest) if sentence)

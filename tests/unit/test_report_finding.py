"""The finding says what the numbers say, null results included."""

from pathlib import Path

import pytest
from report_runs import Made, write_run

from emo.analysis.intervals import wilson
from emo.report.compare import against, difference
from emo.report.finding import Finding, finding
from emo.report.folder import read_run
from emo.report.rates import Rate, averaged, pooled


def _rate(successes: int, n: int) -> Rate:
    low, high = wilson(successes, n)
    return Rate(successes / n, low, high, n, 0)


def test_difference_of_shares() -> None:
    """Example (a) of Newcombe 1998, table II, method 10."""
    found = difference(_rate(56, 70), _rate(48, 80))
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    assert found.verdict == "above"


def test_difference_changes_sign_with_order() -> None:
    one, other = difference(_rate(3, 30), _rate(20, 30)), difference(_rate(20, 30), _rate(3, 30))
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.verdict, other.verdict) == ("below", "above")


def test_nothing_to_compare() -> None:
    empty = Rate(None, 0, 1, 0, 5)
    assert difference(empty, _rate(1, 2)) is None
    assert difference(None, _rate(1, 2)) is None
    assert against(empty, 0.2) == "open"


def test_pooled_counts() -> None:
    both = pooled([_rate(3, 10), _rate(5, 6)])
    assert (both.accuracy, both.n) == (0.5, 16)
    assert (both.low, both.high) == wilson(8, 16)
    assert pooled([]).accuracy is None


def test_average_over_targets_of_the_same_replies() -> None:
    mean = averaged([_rate(2, 20), _rate(6, 20)])
    assert (mean.accuracy, mean.n) == (0.2, 20)
    assert (2 * mean.low, 2 * mean.high) == pytest.approx(wilson(8, 20))


def _found(folder: Path, **accuracy: float) -> Finding:
    made = Made(n_layers=4, n_heads=4, n_neurons=8, n_points=12, accuracy=accuracy)
    return finding(read_run(write_run(folder, made)))


def test_steering_that_works(tmp_path: Path) -> None:
    found = _found(tmp_path, prompting=0.9, steering=0.8, random=0.1)
    assert found.headline.startswith("The directions steer the model")
    words = " ".join(found.sentences)
    assert "null result" not in words
    assert "percentage points" in words
    assert "at most 16.7\u202f%" in words
    assert (
        "linear-3fa9c1d2 (it labelled 97\u202f% of the replies), which reached macro-F1 0.64"
        in found.caveat
    )


def test_a_null_result_is_called_one(tmp_path: Path) -> None:
    found = _found(tmp_path, prompting=0.9, steering=0.1, random=0.1)
    assert found.headline.startswith("Steering was not measurably better than random vectors")
    assert "This is a null result" in " ".join(found.sentences)
    assert "nor does it exclude a gain of +" in " ".join(found.sentences)


def test_steering_that_harms(tmp_path: Path) -> None:
    found = _found(tmp_path, steering=0.0, random=0.9)
    assert found.headline.startswith("Steering did worse than random vectors")


def test_prompting_without_effect(tmp_path: Path) -> None:
    found = _found(tmp_path, prompting=0.0, steering=0.0, random=0.0)
    assert "no better than chance" in found.sentences[0]


def test_no_control(tmp_path: Path) -> None:
    found = _found(tmp_path, steering=0.9)
    assert "no random-vector control" in found.headline
    assert "cannot be interpreted" in " ".join(found.sentences)


def test_no_steering(tmp_path: Path) -> None:
    assert _found(tmp_path, prompting=0.9).headline.startswith("Steering has not been evaluated")


def test_no_fluent_strength(tmp_path: Path) -> None:
    made = Made(n_layers=4, n_heads=4, n_neurons=8, n_points=12, strain=9.0)
    found = finding(read_run(write_run(tmp_path, made)))
    assert found.headline.startswith("No strength of steering kept the replies fluent")
    assert "the mildest was used" in " ".join(found.sentences)


def test_an_unfinished_run(tmp_path: Path) -> None:
    made = Made(n_layers=4, n_heads=4, n_neurons=8, n_points=12, n_samples=3)
    write_run(tmp_path, made)
    (tmp_path / "summary.json").unlink()
    found = finding(read_run(tmp_path))
    assert "not finished" in found.headline
    assert "So far it holds 57 replies, 57 verdicts" in found.sentences[0]
    assert "layer" in found.sentences[1]

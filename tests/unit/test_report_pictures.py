"""Pictures: scales, ticks, and where values end up."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import emo.report
from emo.report.charts import (
    Bar,
    BarGroup,
    Cloud,
    Frame,
    Line,
    Reference,
    bar_chart,
    line_chart,
    scatter,
)
from emo.report.heat import Axis, heat_map, spaced
from emo.report.svg import Scale, fitted, label_width

FRAME = Frame("f", "A title", "A description")


class Shapes(HTMLParser):
    """Elements of a picture with their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str, look: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.found if name == tag and look in (a.get("class") or "")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 27, [0, 10, 20]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 0.037, [0, 0.01, 0.02, 0.03]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 1).ticks() == pytest.approx(ticks)


def test_ticks_of_a_log_scale() -> None:
    assert Scale(8, 120, 0, 1, log=True).ticks() == pytest.approx([10, 20, 50, 100])
    assert Scale(1, 1e5, 0, 1, log=True).ticks() == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5])


def test_a_log_scale_keeps_ratios() -> None:
    scale = Scale(1, 100, 0, 200, log=True)
    assert scale(10) == pytest.approx(100)


def test_labels_that_fit_are_not_cut() -> None:
    labels = ["anger", "happiness"]
    width = label_width(labels)
    assert [fitted(label, width) for label in labels] == labels
    assert fitted("a very long name of an emotion", 60).endswith("…")


def _bar(value: float | None, low: float, high: float) -> Bar:
    return Bar(value, low, high, "m-steering", "words", "tip")


def test_bars_are_as_long_as_their_values() -> None:
    groups = [BarGroup("a", (_bar(0.5, 0.4, 0.6), _bar(0.25, 0.1, 0.3)))]
    shapes = Shapes(bar_chart(FRAME, groups, (0, 1), str, reference=Reference(0.5, "half")))
    first, second = (float(bar["width"] or 0) for bar in shapes.all("rect", "bar"))
    assert first == pytest.approx(2 * second, abs=0.2)
    start = float(shapes.all("rect", "bar")[0]["x"] or 0)
    reference = re.match(r"M([\d.]+) ", shapes.all("path", "reference")[0]["d"] or "")
    assert reference
    assert float(reference[1]) == pytest.approx(start + first, abs=0.2)
    assert len(shapes.all("path", "whisker")) == 2


def test_bars_below_zero_and_without_value() -> None:
    groups = [BarGroup("a", (_bar(-0.5, -0.6, -0.4), _bar(None, 0, 1), _bar(0.5, 0.5, 0.5)))]
    shapes = Shapes(bar_chart(FRAME, groups, (-1, 1), str))
    below, above = shapes.all("rect", "bar")
    ends = float(below["x"] or 0) + float(below["width"] or 0)
    assert ends == pytest.approx(float(above["x"] or 0), abs=0.2)
    assert len(shapes.all("path", "whisker")) == 1
    assert len(shapes.all("text", "value")) == 3


def test_lines_with_one_point() -> None:
    made = line_chart(
        FRAME, [Line("e0", ((3.0, 0.5),))], (0, 1), str, axis="layer", value_axis="F1"
    )
    assert "nan" not in made
    assert ">3</text>" in made


def test_a_cloud_is_not_stretched() -> None:
    points = ((0.0, 0.0), (10.0, 1.0))
    made = scatter(FRAME, [Cloud("e0", 1, points)], heading="layer 0")
    path = Shapes(made).all("path", "cloud")[0]["d"] or ""
    (x0, y0), (x1, y1) = (tuple(map(float, p)) for p in re.findall(r"M([\d.]+) ([\d.]+)", path))
    assert abs(y1 - y0) == pytest.approx(abs(x1 - x0) / 10, abs=0.2)
    assert y1 < y0  # up is larger


def test_points_that_coincide() -> None:
    made = scatter(FRAME, [Cloud("e0", 0, ((1.0, 1.0), (1.0, 1.0)))], heading="")
    assert "nan" not in made


def _heat(values: NDArray[np.float64], top: float = 1.0) -> str:
    rows, columns = (Axis(tuple("abcdefgh"[:n])) for n in values.shape)
    return heat_map(FRAME, values, rows, columns, top, width=200, write=lambda x: f"{x:g}")


def test_heat_maps_join_equal_neighbours() -> None:
    shapes = Shapes(_heat(np.array([[1.0, 1.0, 1.0], [0.0, -1.0, np.nan]])))
    assert [path["d"] for path in shapes.all("path", "hot")] == ["M0 0h3v1h-3z"]
    assert [path["d"] for path in shapes.all("path", "cold")] == ["M1 1h1v1h-1z"]


def test_heat_maps_mark_what_is_not_a_number() -> None:
    assert _heat(np.array([[np.nan, 0.5]])).count("×") == 1


def test_heat_maps_cut_at_the_top() -> None:
    shapes = Shapes(_heat(np.array([[5.0, 1.0]])))
    assert [path["fill-opacity"] for path in shapes.all("path", "hot")] == ["1"]


def test_pictures_say_what_they_show() -> None:
    made = _heat(np.zeros((2, 2)))
    assert '<title id="f-title">A title</title><desc id="f-desc">A description</desc>' in made
    assert 'role="img" aria-labelledby="f-title f-desc"' in made


def test_spaced_labels() -> None:
    assert sum(map(bool, spaced([str(i) for i in range(80)], 8))) == 8


# Linear RGB under full protanopia, deuteranopia and tritanopia (Machado, Oliveira and
# Fernandes 2009), and unchanged.
_SEEN = {
    "all": np.eye(3),
    "protan": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "deutan": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "tritan": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}
_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def _colours(mode: str) -> dict[str, NDArray[np.float64]]:
    style = (Path(emo.report.__file__).parent / "style.css").read_text()
    light, _, dark = style.partition("prefers-color-scheme:dark")
    found = re.findall(r"--(\w+):#([0-9a-f]{6})", light if mode == "light" else dark)
    values = {k: np.array([int(v[i : i + 2], 16) for i in (0, 2, 4)]) / 255 for k, v in found}
    return {k: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
            for k, v in values.items()}  # fmt: skip


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = np.cbrt(np.clip(_XYZ @ np.clip(linear, 0, 1) / _XYZ.sum(axis=1), 1e-6, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("eyes", _SEEN)
def test_colours_differ_for_everyone(mode: str, eyes: str) -> None:
    colours = {k: _lab(_SEEN[eyes] @ v) for k, v in _colours(mode).items()}
    for series in ([f"c{i}" for i in range(6)], ["neuron", "head"], ["hot", "cold"]):
        for a, b in itertools.combinations(series, 2):
            assert np.linalg.norm(colours[a] - colours[b]) > 20, (a, b)
    for a, b in itertools.combinations(["prompting", "steering", "circuit", "random"], 2):
        assert np.linalg.norm(colours[a] - colours[b]) > 12, (a, b)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_stand_out(mode: str) -> None:
    light = {k: float(_XYZ[1] @ v) for k, v in _colours(mode).items()}

    def contrast(name: str) -> float:
        high, low = sorted((light[name], light["page"]), reverse=True)
        return (high + 0.05) / (low + 0.05)

    marks = [f"c{i}" for i in range(9)] + ["prompting", "steering", "circuit", "random"]
    assert min(contrast(name) for name in marks) > 2.95
    words = ["ink", "muted", "faint", "link", "good", "bad"]
    assert min(contrast(name) for name in words) > 4.5

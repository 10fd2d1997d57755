"""Directions, contributions and intervals: arrays in, arrays out.

The verbs are functions of the modules that carry their names: ``directions.directions`` and
``score.score``.
"""

from emo.analysis.intervals import bootstrap, normal_interval, t_interval, wilson
from emo.analysis.rows import RowLabels, accepted_ids, label_rows
from emo.analysis.scores import Scores, Unit, UnitScores

__all__ = [
    "RowLabels",
    "Scores",
    "Unit",
    "UnitScores",
    "accepted_ids",
    "bootstrap",
    "label_rows",
    "normal_interval",
    "t_interval",
    "wilson",
]

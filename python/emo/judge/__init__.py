"""Judges: which emotion a reply expresses, and how far their word can be trusted."""

from emo.judge.choice import open_judge
from emo.judge.linear import LinearJudge
from emo.judge.protocol import Judge, agreement, coverage

__all__ = ["Judge", "LinearJudge", "agreement", "coverage", "open_judge"]

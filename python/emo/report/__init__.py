"""The report: artifacts of a run folder in, one static HTML file out."""

from emo.report.page import build

__all__ = ["build"]

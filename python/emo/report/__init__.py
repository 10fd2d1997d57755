"""The report: artifacts of a run folder in, one static HTML file out."""

from emo.report.folder import missing_parts
from emo.report.page import build

__all__ = ["build", "missing_parts"]

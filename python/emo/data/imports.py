"""Bring a published set of scenarios with events into our JSON lines, content unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from emo.artifacts import write_jsonl
from emo.data.findings import Findings
from emo.data.rows import VALENCES, Row, scan_rows
from emo.data.validate import row_id, schema_problem, validate_sev
from emo.errors import DataError, UsageError


def import_sev(source: Path, target: Path) -> Findings:
    """Write the records of `source` to `target` as JSON lines, and check them.

    Parameters
    ----------
    source : Path
        JSON lines, a JSON array, or CSV with the columns ``skeleton_id``, ``theme``,
        ``scenario``, and ``positive``, ``neutral``, ``negative`` (or ``event`` as JSON). Other
        fields, and other outcomes, are left out.
    target : Path
        A file that does not end in ``.csv``.

    Returns
    -------
    Findings
        Where the records break the rules of `emo.data.validate_sev`; they are written all the
        same.

    Raises
    ------
    DataError
        When a row breaks the schema; the message names the line, and nothing is written.
    UsageError
        When `target` ends in ``.csv``.
    ResourceError
        When the file cannot be read or written.
    """
    if Path(target).suffix == ".csv":
        raise UsageError(f"{target}: the result is JSON lines", hint="name it .jsonl")
    rows = [_without_other_outcomes(row) for row in scan_rows(source)]
    if not rows:
        raise DataError(f"{source} holds no records", hint="each needs skeleton_id and event")
    problems = [bad for row in rows if (bad := schema_problem(row, sev=True)) is not None]
    if problems:
        more = f" (and {len(problems) - 1} more lines)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}", hint=f"see emo data validate {source}")
    write_jsonl(target, map(_record, rows))
    return validate_sev([target])


def _without_other_outcomes(row: Row) -> Row:
    event = row.fields.get("event")
    if not isinstance(event, dict):
        return row
    kept = {name: text for name, text in event.items() if name in VALENCES}
    return replace(row, fields={**row.fields, "event": kept})


def _record(row: Row) -> dict[str, object]:
    event = {valence: row.fields["event"][valence] for valence in VALENCES}
    names = ("theme", "scenario")
    kept = {"skeleton_id": row_id(row)} | {name: row.fields[name] for name in names}
    return {**kept, "event": event}

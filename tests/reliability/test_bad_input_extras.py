"""Verbs that need an extra which is not installed: exit code 7 and the command that installs it.

All run in one process of its own, in which the modules of the extras cannot be imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = "pip install 'emo-circuits[model]'"
COMMANDS = {
    "demo -o out": MODEL,
    "run --model model --data events.jsonl -o out": MODEL,
    "generate --model model --data events.jsonl -o out": MODEL,
    "capture --model model --data events.jsonl -o out": MODEL,
    "judge run texts.jsonl --judge hf:model -o out": MODEL,
    "judge train labelled.jsonl -o out": "pip install 'emo-circuits[geometry]'",
    "judge run texts.jsonl --judge chat:gpt -o out": "pip install 'emo-circuits[chat]'",
}
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
sys.modules |= dict.fromkeys(("torch", "transformers", "sklearn", "scipy", "openai", "pyarrow"))
from refusals import run_emo, snapshot
from pathlib import Path
found = {}
for command in sys.argv[2:]:
    before = snapshot(Path())
    result = run_emo(command)
    found[command] = [result.code, result.err, before == snapshot(Path())]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def results(whole_world: Path) -> dict[str, tuple[int, str, bool]]:
    """Exit code, stderr, and whether nothing was written, for each command."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(here), *COMMANDS, "data stats events.jsonl"],
        cwd=whole_world,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, tuple[int, str, bool]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_extra_is_named(results: dict[str, tuple[int, str, bool]], command: str) -> None:
    code, err, untouched = results[command]
    error, hint = err.splitlines()[-2:]
    assert (code, untouched) == (7, True), err
    assert error.startswith("error: this needs the Python package ")
    assert hint == f"hint: {COMMANDS[command]}"
    assert err.count("error: ") == 1
    assert "Traceback" not in err


def test_other_verbs_need_no_extra(results: dict[str, tuple[int, str, bool]]) -> None:
    assert results["data stats events.jsonl"][0] == 0

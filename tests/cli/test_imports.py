"""Help and data checks start fast: nothing heavy is imported before a verb needs it."""

import subprocess
import sys

import pytest

from emo.cli import VERBS
from emo.data.bundle import bundled

HEAVY = ("torch", "transformers", "sklearn", "scipy", "tokenizers", "jinja2", "openai", "pyarrow")
SCRIPT = """
import sys
from emo.cli import main
try:
    main(sys.argv[2:])
finally:
    print([name for name in sys.argv[1].split(",") if name in sys.modules], file=sys.stderr)
"""


def run(*arguments):
    command = [sys.executable, "-c", SCRIPT, ",".join(HEAVY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("data", "--help"),
        ("data", "validate", str(bundled("sev.jsonl"))),
        ("data", "stats", str(bundled("small"))),
        ("geometry", "--help"),
        ("geometry", "rsa", "--help"),
        ("dta",),
    ],
)
def test_nothing_heavy_is_imported(arguments):
    done = run(*arguments)
    assert done.returncode == (2 if arguments == ("dta",) else 0)
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_lists_every_verb():
    verbs = run("--help").stdout.split("Verbs:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in verbs.splitlines()] == list(VERBS)

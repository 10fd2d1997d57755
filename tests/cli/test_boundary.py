"""One error boundary: a line that starts ``error:``, a hint where known, and the right code."""

import errno
import os
import signal
import subprocess
import sys
import types

import click
import pytest

from emo import cli, errors
from emo.errors import EmoError


@pytest.fixture
def ends(monkeypatch, capsys):
    """Run a verb that raises something: (exit code, stdout, stderr)."""

    def run(error):
        @click.command()
        def boom():
            raise error

        module = types.ModuleType("emo.cli.boom")
        module.boom = boom
        monkeypatch.setitem(sys.modules, "emo.cli.boom", module)
        monkeypatch.setitem(cli.VERBS, "boom", "Fail.")
        with pytest.raises(SystemExit) as caught:
            cli.main(["boom"])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.mark.parametrize("kind", EmoError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_each_kind_of_error_ends_with_its_code(ends, kind):
    code, out, err = ends(kind("It broke\n in two.", hint="Mend it."))
    assert (code, out) == (kind.exit_code, "")
    assert err == "error: It broke in two.\nhint: Mend it.\n"
    assert ends(kind("It broke."))[2] == "error: It broke.\n"


def test_the_codes_are_those_of_the_interface():
    codes = {kind.__name__: kind.exit_code for kind in EmoError.__subclasses__()}
    assert sorted(codes.values()) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert errors.DataError.exit_code == 3


def test_a_bug_keeps_its_traceback_and_ends_with_1(ends):
    code, _, err = ends(ZeroDivisionError("by zero"))
    assert code == 1
    assert "Traceback" in err
    assert "error: this is a bug in emo: ZeroDivisionError: by zero\n" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_with_130(ends, error):
    code, _, err = ends(error)
    assert (code, err.split("\n")[-3]) == (130, "error: interrupted")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_trouble_with_the_disk_ends_with_8(ends, number):
    code, _, err = ends(OSError(number, os.strerror(number), "a/file"))
    error, hint = err.splitlines()
    assert (code, error) == (8, f"error: cannot use a/file: {os.strerror(number)}")
    assert hint.startswith("hint: ")


def test_no_memory_left_ends_with_8(ends):
    code, _, err = ends(MemoryError())
    assert (code, err.startswith("error: out of memory\nhint: ")) == (8, True)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["dta"], "error: unknown verb 'dta'", "hint: did you mean 'data'?"),
        (["zzz"], "error: unknown verb 'zzz'", f"hint: known: {', '.join(cli.VERBS)}"),
        (["data", "validate", "--jsn"], "error: No such option", "hint: "),
        (["directions", "x"], "error: Missing option '-o'", "hint: see emo directions --help"),
    ],
)
def test_misuse_ends_with_2_and_a_hint(capsys, arguments, error, hint):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith(error)
    assert second.startswith(hint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_ctrl_c_ends_with_130_and_without_a_traceback(tmp_path):
    pipe = tmp_path / "data.jsonl"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "emo.cli", "data", "stats", str(pipe)]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        open(pipe, "w"),  # opens when the command has begun to read
    ):
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    assert (process.returncode, err.strip().splitlines()[0]) == (130, "error: interrupted")
    assert "Traceback" not in err

"""The command line: lazy verbs and one error boundary."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import click

from emo.errors import EmoError, ResourceError, did_you_mean
from emo.geometry.interruptible import working

VERBS = {
    "demo": "Run everything on the bundled model and data.",
    "run": "Run every stage for a model and a data set.",
    "data": "Check, describe or import data sets.",
    "generate": "Elicit replies by prompting or steering.",
    "judge": "Label replies with an emotion, or train a judge.",
    "capture": "Capture activations into a store.",
    "store": "Describe or verify a store.",
    "directions": "Compute emotion directions from a store.",
    "score": "Score neurons and heads by their contribution to each direction.",
    "geometry": "Compare vectors: similarity, overlap, alignment, components.",
    "report": "Write the HTML report of a run folder.",
}
INTERRUPTED = 130
RESUMING = {("demo",), ("run",), ("generate",), ("capture",), ("judge", "run"), ("score",)}


class VerbGroup(click.Group):
    """A group that says which verb was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or raise a usage error with a hint."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise UnknownVerbError(args[0], known, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs with their whole first sentence."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        lines = {name: str(found.help).split("\n\n") for name, found in commands.items() if found}
        with formatter.section("Verbs"):
            formatter.write_dl(
                [(name, " ".join(first.split())) for name, (first, *_) in lines.items()]
            )


class UnknownVerbError(click.UsageError):
    """A verb that does not exist; `hint` names the nearest."""

    def __init__(self, verb: str, known: Sequence[str], ctx: click.Context) -> None:
        super().__init__(f"unknown verb {verb!r}", ctx)
        helps = verb in ("help", "?")
        self.hint = "emo --help, or emo VERB --help" if helps else did_you_mean(verb, known)


class LazyGroup(VerbGroup):
    """A group whose verbs are imported when they are called, so that help stays fast.

    Parameters
    ----------
    verbs : mapping of str to str
        Names and what they do, in the order of the work.
    package : str
        Where the module of each verb is; it holds a command of the same name.
    """

    def __init__(
        self, *arguments: Any, verbs: Mapping[str, str], package: str, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self.verbs, self.package = verbs, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the work."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in self.verbs:
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.verbs.items()))


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    package="emo.cli",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a bug, 2 usage, 3 data, 4 model, 5 damaged or foreign file, "
    "6 other settings, 7 missing extra, 8 disk, permission or network, 9 numbers, "
    "130 interrupted.",
)
@click.version_option(package_name="emo-circuits", prog_name="emo")
@click.pass_context
def emo(context: click.Context) -> None:
    """Find, measure and steer emotion in language models."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the exit code tells the kind of error, as ``emo --help`` says."""
    _open_streams()
    code = _run(arguments)
    if code == INTERRUPTED and working():
        sys.stderr.flush()
        os._exit(code)  # decompositions in another thread would hold the process for seconds
    sys.exit(code)


def _open_streams() -> None:
    """Give a process that was started without stdout or stderr a place to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = emo.main(args=arguments, prog_name="emo", standalone_mode=False)
        _flush_stdout()
        return code if isinstance(code, int) else 0
    except EmoError as error:
        if _interrupted(error):
            return _say_interrupted(arguments)
        return _say(str(error), error.hint, error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _say(_usage_message(error), _usage_hint(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return _say_interrupted(arguments)
    except SystemExit:  # click ends so when the reader of a pipe has left
        return 0
    except MemoryError:
        return _say("out of memory", "pass a smaller --batch-size or --limit", 8)
    except OSError as error:
        if not ResourceError.covers(error):
            return _bug(error)
        trouble = (
            _mute_stdout(error)
            if error.filename is None
            else ResourceError.of("use", error.filename, error)
        )
        return _say(str(trouble), trouble.hint, trouble.exit_code)
    except Exception as error:
        return _say_interrupted(arguments) if _interrupted(error) else _bug(error)


def _say_interrupted(arguments: Sequence[str] | None) -> int:
    words = tuple(sys.argv[1:] if arguments is None else arguments)
    resumes = any(words[: len(verb)] == verb for verb in RESUMING)
    hint = "goes on where it stopped" if resumes else "starts over"
    return _say("interrupted", f"the same command {hint}", INTERRUPTED)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error came up only while an interrupt was being handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _flush_stdout() -> None:
    """Write out what is left: a full disk is an error, a reader that has left is none."""
    try:
        sys.stdout.flush()
    except OSError as error:
        trouble = _mute_stdout(error)
        if error.errno != errno.EPIPE:
            raise trouble from None


def _mute_stdout(error: OSError) -> ResourceError:
    """Drop what stdout did not take, so that leaving does not fail on it again."""
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ResourceError.of("write", "the output", error)


def _usage_message(error: click.ClickException) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        return "a verb is missing"
    return error.format_message()


def _usage_hint(error: click.ClickException) -> str | None:
    if isinstance(error, UnknownVerbError):
        return error.hint
    context = getattr(error, "ctx", None)
    return None if context is None else f"see {context.command_path} --help"


def _bug(error: Exception) -> int:
    traceback.print_exc()
    return _say(f"this is a bug in emo: {type(error).__name__}: {error}", "please report it", 1)


def _say(message: str, hint: str | None, code: int) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    """Join lines, and write out characters that a terminal would obey."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)

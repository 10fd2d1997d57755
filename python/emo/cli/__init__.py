"""The command line: lazy verbs and one error boundary."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from emo.errors import EmoError, did_you_mean

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
    "report": "Write the HTML report of a run folder.",
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are called, so that help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"emo.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was probably meant."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            error = click.UsageError(f"unknown verb {args[0]!r}", ctx)
            error.emo_hint = did_you_mean(args[0], VERBS)  # type: ignore[attr-defined]
            raise error
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="emo-circuits", prog_name="emo")
def emo() -> None:
    """Find, measure and steer emotion in language models."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code of ``interface`` kinds.

    0 done, 1 a bug, 2 usage, 3 data, 4 model, 5 artifact, 6 other settings, 7 missing extra,
    8 disk, permission or network, 9 numbers, 130 interrupted.
    """
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = emo.main(args=arguments, prog_name="emo", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except EmoError as error:
        return _say(str(error), error.hint, error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _say(error.format_message(), _usage_hint(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", "the same command goes on where it stopped", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _say("out of memory", "pass a smaller --batch-size or --limit", 8)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT):
            return _bug(error)
        return _say(f"{error.filename or 'disk'}: {os.strerror(error.errno or 0)}", None, 8)
    except Exception as error:
        return _bug(error)


def _usage_hint(error: click.ClickException) -> str | None:
    hint = getattr(error, "emo_hint", None)
    context = getattr(error, "ctx", None)
    if hint is None and context is not None:
        return f"see {context.command_path} --help"
    return hint


def _bug(error: Exception) -> int:
    traceback.print_exc()
    return _say(f"this is a bug in emo: {type(error).__name__}: {error}", "please report it", 1)


def _say(message: str, hint: str | None, code: int) -> int:
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code

"""Every verb and flag that users and scripts rely on is there, by exactly that name."""

from __future__ import annotations

import click
import pytest

from emo.cli import emo

# Verb with its arguments and flags.
FLAGS = {
    "demo": "-o --output --seed --device --json --quiet",
    "run": "--model --data --test-data -o --output --smoke --judge --emotions --limit --batch-size"
    " --seed --revision --device --threads --json --quiet",
    "data validate": "files --json --quiet",
    "data stats": "files --limit --json",
    "data import": "file -o --output --json --quiet",
    "generate": "--model --data --emotions --no-instruct --directions --steer --alpha --alpha-norm"
    " --layers --scope -o --output --batch-size --limit --revision --device --threads --json"
    " --quiet",
    "judge run": "texts --judge -o --output --batch-size --limit --revision --device --json"
    " --quiet",
    "judge train": "labelled -o --output --seed --json --quiet",
    "capture": "--model --data --sites --positions --dtype -o --output --batch-size --limit"
    " --revision --device --threads --json --quiet",
    "store info": "path --json",
    "store verify": "path --threads --io --json --quiet",
    "directions": "path --verdicts --method --position -o --output --threads --io --json --quiet",
    "score": "path --directions --model --top -o --output --threads --io --json --quiet",
    "geometry rsa": "paths --site --sites --threads --io -o --output --json --quiet",
    "geometry overlap": "paths --site --sites --threads --io -o --output --json --quiet",
    "geometry align": "paths --site --threads --io -o --output --json --quiet",
    "geometry pca": "path --site --threads --io -o --output --json --quiet",
    "report": "folder --json",
}


def _command(name: str) -> click.Command:
    found: click.Command = emo
    for word in name.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None, f"there is no {name}"
        found = inner
    return found


def _verbs(group: click.Group, path: str = "") -> list[tuple[str, click.Command]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = _command(f"{path} {name}".strip())
        inner = isinstance(command, click.Group)
        found += _verbs(command, f"{path} {name}") if inner else [(f"{path} {name}", command)]
    return found


ALL = dict(_verbs(emo))


@pytest.mark.parametrize("verb", FLAGS)
def test_the_flags_of_a_verb(verb: str) -> None:
    names = {name for one in _command(verb).params for name in [*one.opts, one.name]}
    assert set(FLAGS[verb].split()) <= names


def test_the_version_is_told() -> None:
    assert any("--version" in one.opts for one in emo.params)


@pytest.mark.parametrize("verb", ALL)
def test_help_explains_everything(verb: str) -> None:
    command = ALL[verb]
    first = str(command.help).split("\n\n")[0]
    assert first.endswith("."), first
    for one in command.params:
        if isinstance(one, click.Option):
            assert (one.help or "").endswith((".", ")")), one.name

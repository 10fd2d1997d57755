"""What ``help`` says about the native functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import emo
from emo import _core

STUB = ast.parse((Path(emo.__file__).parent / "_core.pyi").read_text())
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
# Explained once, in the module's own text.
COMMON = ("threads", "io", "chunks")
SHAPE = re.compile(r"\(\w[^()]*,.*\)|\(name, dtype, array\)|arrays? \(\w+, |As (in|from) ")
HOLD_ARRAYS = ("NDArray", "_Moments", "_RsaGrid", "_CrossMoments", "_Overlaps", "_Pass")


def test_every_exported_function_is_looked_at() -> None:
    exported = {name for name, value in vars(_core).items() if callable(value)}
    assert {*FUNCTIONS, "InternalError"} == exported


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_tells_arguments_and_shapes(name: str) -> None:
    function = FUNCTIONS[name]
    text = str(getattr(_core, name).__doc__)
    assert text.splitlines()[0] == ast.get_docstring(function)
    arguments, _, results = text.partition("\nReturns\n-------\n")
    arguments = arguments.partition("\nParameters\n----------\n")[2]
    for argument in (*function.args.args, *function.args.kwonlyargs):
        where = str(_core.__doc__) if argument.arg in COMMON else arguments
        entry = re.search(rf"^(\w.*, )?{argument.arg}\b.*(\n    .*)*", where, re.MULTILINE)
        assert entry, argument.arg
        if "NDArray" in ast.unparse(argument.annotation):
            assert SHAPE.search(entry[0]), argument.arg
    returned = ast.unparse(function.returns)
    assert bool(results) == (returned != "None")
    if returned.startswith(HOLD_ARRAYS):
        assert SHAPE.search(results.partition("\nRaises")[0])

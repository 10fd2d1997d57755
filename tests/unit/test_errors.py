"""The tree of errors: exit codes, hints, missing extras."""

import sys

import pytest

from emo import errors
from emo.errors import EmoError, MissingExtraError, did_you_mean, import_extra

CODES = {
    "UsageError": 2,
    "DataError": 3,
    "ModelError": 4,
    "ArtifactError": 5,
    "SettingsError": 6,
    "MissingExtraError": 7,
    "ResourceError": 8,
    "NumericalError": 9,
}


def test_each_kind_has_its_exit_code():
    kinds = {kind.__name__: kind.exit_code for kind in EmoError.__subclasses__()}
    assert kinds == CODES
    assert EmoError.exit_code == 1


@pytest.mark.parametrize("name", CODES)
def test_an_error_carries_message_and_hint(name):
    error = getattr(errors, name)("It broke.", hint="Mend it.")
    assert (str(error), error.hint) == ("It broke.", "Mend it.")
    assert getattr(errors, name)("It broke.").hint is None


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("angr", ["anger", "fear"], "did you mean 'anger'?"),
        ("zzz", ["anger", "fear"], "known: anger, fear"),
        ("zzz", [], "none are known"),
        ("zzz", map(str, range(100, 130)), f"known: {', '.join(map(str, range(100, 120)))}, ..."),
    ],
)
def test_a_misspelt_name_gets_the_closest_or_the_list(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_an_installed_module_is_imported():
    assert import_extra("json.decoder", "model") is sys.modules["json.decoder"]


def test_a_missing_module_names_its_extra():
    with pytest.raises(MissingExtraError, match="'no_such_package_here', which") as caught:
        import_extra("no_such_package_here.part", "chat")
    assert caught.value.hint == "pip install 'emo-circuits[chat]'"


def test_a_module_that_lacks_another_one_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import no_such_package_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_here"):
        import_extra("half_there", "chat")

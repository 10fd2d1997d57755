import contextlib
import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from store_toys import Toy

from emo.errors import ArtifactError, SettingsError, UsageError
from emo.store import StorePlan, StoreWriter
from emo.store.manifest import (
    MANIFEST,
    check_same_settings,
    fingerprint_of,
    parse_manifest,
)

HERE = Path("here")


def test_the_fingerprint_ignores_the_order_of_fields():
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})


def test_every_field_that_differs_is_named_with_both_values():
    old = {"model": {"sha": "abc", "name": "x"}, "sites": ["L0.a", "L1.a"], "dtype": "BF16"}
    new = {"model": {"sha": "def", "name": "x"}, "sites": ["L0.a", "L2.a"], "seed": 3}
    with pytest.raises(SettingsError) as caught:
        check_same_settings(HERE, old, new)
    text = str(caught.value)
    assert 'model.sha was "abc", now "def"' in text
    assert 'sites was ["L1.a"], now ["L2.a"]' in text
    assert 'dtype was "BF16", now absent' in text
    assert "seed was absent, now 3" in text
    assert "model.name" not in text


def test_a_changed_order_shows_the_whole_lists():
    with pytest.raises(SettingsError, match=r'p was \["a", "b"\], now \["b", "a"\]'):
        check_same_settings(HERE, {"p": ["a", "b"]}, {"p": ["b", "a"]})


def test_many_differences_are_counted():
    old = {f"f{i:02}": 0 for i in range(20)}
    with pytest.raises(SettingsError, match="and 8 more"):
        check_same_settings(HERE, old, dict.fromkeys(old, 1))


def test_equal_settings_pass():
    check_same_settings(HERE, {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]})


def test_a_plan_needs_a_known_dtype_and_a_model():
    plan = Toy().plan()
    with pytest.raises(UsageError, match="INT8"):
        StorePlan(**{**vars(plan), "dtype": "INT8"})
    with pytest.raises(UsageError, match="weight_sha"):
        StorePlan(**{**vars(plan), "model": {"name": "x"}})
    with pytest.raises(UsageError, match="set by the store"):
        Toy().plan(fields={"dtype": "mine"}).all_fields()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    store = Toy().write_store(tmp_path_factory.mktemp("m") / "s", cuts=(5,))
    return json.loads((store.path / MANIFEST).read_text())


@pytest.mark.parametrize("value", [None, [], 3, "x", {}, {"kind": "scores"}])
def test_foreign_json_is_refused(value):
    with pytest.raises(ArtifactError, match="not the manifest"):
        parse_manifest(value, HERE)


def test_a_newer_format_says_upgrade(manifest):
    with pytest.raises(ArtifactError, match="format 99"):
        parse_manifest({**manifest, "format": 99}, HERE)


def _paths(value, prefix=()):
    yield prefix
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in list(items):
            yield from _paths(below, (*prefix, key))


def test_a_manifest_with_any_part_replaced_or_gone_never_escapes_as_another_error(manifest):
    for path in [p for p in _paths(manifest) if p and p[0] not in ("fields", "version")]:
        for junk in (None, -1, [], {"x": 1}, "../../etc/passwd"):
            damaged = copy.deepcopy(manifest)
            parent = damaged
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = junk
            with contextlib.suppress(ArtifactError):
                parse_manifest(damaged, HERE)


@pytest.mark.parametrize("name", ["weight_sha", "family", "n_layers", "n_heads", "d_head", "d_mlp"])
def test_a_changed_record_of_the_model_is_found(manifest, name):
    damaged = copy.deepcopy(manifest)
    damaged["model"][name] = "x" if isinstance(damaged["model"][name], str) else 999
    with pytest.raises(ArtifactError, match=name):
        parse_manifest(damaged, HERE)


@pytest.mark.parametrize("change", [lambda m, k: m.update({k: "x"}), lambda m, k: m.pop(k)])
@pytest.mark.parametrize("name", ["tokenizer_sha", "n_kv_heads", "dtype", "attention"])
def test_all_that_is_recorded_of_the_model_is_compared(tmp_path, name, change):
    more = {"tokenizer_sha": "t", "n_kv_heads": 2, "dtype": "float32", "attention": "sdpa"}
    plan = Toy().plan(fields={"tokenizer": "t"})
    plan = replace(plan, model={**plan.model, **more, "revision": "main"})
    with StoreWriter(tmp_path / "s", plan) as writer:
        Toy().write_shard(writer, 0)
        value = dict(writer.finish().manifest)
    value["model"]["revision"] = "another"
    parse_manifest(value, HERE)
    change(value["model"], name)
    with pytest.raises(ArtifactError, match=name):
        parse_manifest(value, HERE)


def test_a_shard_name_cannot_leave_the_folder(manifest):
    damaged = copy.deepcopy(manifest)
    damaged["shards"][0]["file"] = "shards/../../00000.safetensors"
    with pytest.raises(ArtifactError, match="damaged"):
        parse_manifest(damaged, HERE)

"""Family rows, weight names and sizes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emo.errors import ModelError
from emo.families import FAMILIES, Shape, Tap, family_of, shape_of
from emo.sites import PARTS


def test_there_are_thirteen_families_with_different_names() -> None:
    assert len(FAMILIES) == len({family.name for family in FAMILIES}) == 13


def test_families_do_not_import_torch() -> None:
    code = "import sys, emo.families; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="'qwen4'") as caught:
        family_of("qwen4")
    assert caught.value.hint == "did you mean 'qwen3'?"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_part_has_a_place(family) -> None:
    derived = [part for part in PARTS if family.tap(part) is None]
    assert derived == (["resid_mid"] if family.parallel else [])


def test_flags() -> None:
    flagged = {
        flag: {family.name for family in FAMILIES if getattr(family, flag)}
        for flag in ("parallel", "post_norm", "transposed", "soft_cap_key")
    }
    assert flagged == {
        "parallel": {"gpt_neox"},
        "post_norm": {"gemma2", "gemma3", "gemma3_text", "olmo2"},
        "transposed": {"gpt2"},
        "soft_cap_key": {"gemma2", "gemma3_text"},
    }


def test_post_norm_output_is_read_after_the_norm() -> None:
    assert family_of("gemma2").tap("mlp_out") == Tap("post_feedforward_layernorm", "output")
    assert family_of("gemma2").tap("resid_mid") == Tap("pre_feedforward_layernorm", "input")


def test_configuration_decides_whether_neox_is_parallel() -> None:
    family = family_of("gpt_neox").resolve({"use_parallel_residual": False})
    assert family.tap("resid_mid") == Tap("post_attention_layernorm", "input")
    assert family_of("gpt_neox").resolve({}).parallel


def test_soft_cap_comes_from_the_configuration() -> None:
    assert family_of("gemma2").soft_cap({"final_logit_softcapping": 30}) == 30.0
    assert family_of("gemma2").soft_cap({}) is None
    nested = {"text_config": {"final_logit_softcapping": 30, "rms_norm_eps": 1e-3}}
    assert family_of("gemma2").soft_cap(nested) == 30.0
    assert family_of("gemma3").eps(nested) == 1e-3
    assert family_of("llama").soft_cap({"final_logit_softcapping": 30}) is None


def test_weight_names_with_and_without_the_prefix() -> None:
    assert family_of("llama").weight_names("out_proj", 2) == (
        "model.layers.2.self_attn.o_proj.weight",
        "layers.2.self_attn.o_proj.weight",
    )
    assert family_of("opt").weight_names("final_norm") == (
        "model.decoder.final_layer_norm.weight",
        "decoder.final_layer_norm.weight",
        "final_layer_norm.weight",
    )
    assert family_of("gpt_neox").weight_names("unembed")[:2] == (
        "embed_out.weight",
        "lm_head.weight",
    )
    assert family_of("gpt2").weight_names("unembed")[-1] == "wte.weight"


def test_weight_that_a_family_lacks() -> None:
    with pytest.raises(ModelError, match="llama has no weight 'attn_norm'"):
        family_of("llama").weight_names("attn_norm", 0)


def test_sizes_under_other_names() -> None:
    opt = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "ffn_dim": 20}
    assert shape_of(opt) == Shape(2, 8, 4, 4, 2, 20)
    neo = {"num_layers": 2, "hidden_size": 8, "num_heads": 4, "intermediate_size": None}
    assert shape_of(neo) == Shape(2, 8, 4, 4, 2, 32)


def test_explicit_head_width_and_grouped_heads() -> None:
    config = {
        "text_config": {
            "num_hidden_layers": 2,
            "hidden_size": 10,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 6,
            "intermediate_size": 30,
        }
    }
    shape = shape_of(config)
    assert shape == Shape(2, 10, 4, 1, 6, 30)
    assert [shape.width(part) for part in ("head_out", "mlp_act", "resid_mid")] == [24, 30, 10]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 8, "num_attention_heads": 4}, "lacks num_hidden_layers / n_layer"),
        ({"n_layer": 1, "n_embd": 10, "n_head": 4}, "width 10 is no multiple of the 4 heads"),
    ],
)
def test_sizes_that_do_not_work(config, message) -> None:
    with pytest.raises(ModelError, match=message):
        shape_of(config)

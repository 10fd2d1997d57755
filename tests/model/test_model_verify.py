"""The identities hold on every family, and a wrong row is refused by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_models import NAMES, tiny_model, tiny_module

from emo.errors import ModelError
from emo.families import family_of
from emo.model import LanguageModel, verify_family


def broken(name: str, **fields) -> LanguageModel:
    model = tiny_model(name)
    return dataclasses.replace(model, family=dataclasses.replace(model.family, **fields))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_identities_hold(name, dtype) -> None:
    model = tiny_model(name)
    model.module.to(dtype)
    verify_family(model)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_weights_have_the_names_of_the_row(name) -> None:
    model = tiny_model(name)
    present = set(model.module.state_dict())
    last = model.n_layers - 1
    weights = ["out_proj", "down_proj", "final_norm", "unembed", "embed"]
    weights += ["attn_norm", "mlp_norm"] if model.family.post_norm else []
    for weight in weights:
        assert present & set(model.family.weight_names(weight, last)), weight


def test_tokens_come_from_the_tokenizer(tiny_llama) -> None:
    verify_family(tiny_llama)


def test_sequential_neox_holds_and_is_editable() -> None:
    model = tiny_model("gpt_neox", use_parallel_residual=False)
    assert not model.family.parallel
    verify_family(model)


def test_soft_cap_and_untied_unembedding_hold() -> None:
    model = tiny_model("gemma2", final_logit_softcapping=5.0, tie_word_embeddings=False)
    assert model.soft_cap == 5.0
    verify_family(model)


@pytest.mark.parametrize(
    ("name", "fields", "identity"),
    [
        ("llama", {"mid": "input_layernorm"}, "resid_pre + attn_out = resid_mid"),
        ("llama", {"attn_norm": "input_layernorm"}, "resid_pre + attn_out = resid_mid"),
        ("llama", {"mlp_norm": "post_attention_layernorm"}, "resid_mid + mlp_out = resid_post"),
        ("llama", {"transposed": True}, r"W_O head_out \+ bias = attention projection"),
        ("llama", {"down_proj": "mlp.up_proj"}, "the width of mlp_act is 48"),
        ("llama", {"final_norm": "layers.0.input_layernorm"}, "= logits"),
        ("gpt2", {"transposed": False}, r"W_O head_out \+ bias = attention projection"),
        ("gpt2", {"mid": "ln_1"}, "resid_pre + attn_out = resid_mid"),
        ("gemma2", {"attn_norm": None}, "resid_pre + attn_out = resid_mid"),
        ("gemma3_text", {"mlp_norm": None}, "resid_mid + mlp_out = resid_post"),
        ("gemma3", {"mlp_norm": None}, "resid_mid + mlp_out = resid_post"),
        ("olmo2", {"mid": "post_feedforward_layernorm"}, "resid_pre + attn_out = resid_mid"),
        ("gpt_neox", {"parallel": False}, "resid_pre + attn_out = resid_mid"),
        ("opt", {"mid": "self_attn_layer_norm"}, "resid_pre + attn_out = resid_mid"),
    ],
)
def test_a_wrong_row_is_refused_by_name(name, fields, identity) -> None:
    identity = identity if "\\" in identity else identity.replace("+", r"\+")
    with pytest.raises(ModelError, match=identity):
        verify_family(broken(name, **fields))


def test_the_refusal_names_the_layer() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        block = model.block_module(2)
        block.register_forward_hook(lambda _module, _args, output: output + 0.5)
    with pytest.raises(ModelError, match=r"resid_mid \+ mlp_out = resid_post' .* in layer 2"):
        verify_family(model)


def test_a_soft_cap_that_is_forgotten_is_found() -> None:
    model = tiny_model("gemma2", final_logit_softcapping=5.0)
    with pytest.raises(ModelError, match="= logits"):
        verify_family(dataclasses.replace(model, soft_cap=None))


def test_an_error_beside_huge_features_is_found() -> None:
    """A few huge features of the residual stream must not widen the tolerance of the others."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.submodule("model.embed_tokens").weight[:, 3] = 30000.0
    verify_family(model)
    wrong = dataclasses.replace(model.family, mlp_norm="input_layernorm")
    with pytest.raises(ModelError, match="resid_post"):
        verify_family(dataclasses.replace(model, family=wrong))


def test_opt_that_norms_after_adding_is_refused() -> None:
    module = tiny_module("opt", do_layer_norm_before=False)
    with pytest.raises(ModelError, match=r"no module 'model.decoder.final_layer_norm'"):
        LanguageModel.wrap(module)


def test_modules_that_do_not_exist_are_named() -> None:
    family = dataclasses.replace(family_of("llama"), out_proj="attention.out")
    with pytest.raises(ModelError, match=r"no module 'model.layers.0.attention.out'"):
        LanguageModel.wrap(tiny_module("llama"), family=family)

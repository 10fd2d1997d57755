"""Random models of every family, made in milliseconds, and a tokenizer of single bytes."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from emo.model import LanguageModel

N_VOCAB = 260
EOS = 259
CONTEXT = 96
_COMMON = {
    "vocab_size": N_VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 258,
    "eos_token_id": EOS,
    "pad_token_id": 257,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 48}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": 12}),
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": N_VOCAB,
            "n_embd": 32,
            "n_layer": 3,
            "n_head": 4,
            "n_positions": CONTEXT,
            "bos_token_id": 258,
            "eos_token_id": EOS,
        },
    ),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "vocab_size": N_VOCAB,
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 12,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": 258,
            "eos_token_id": EOS,
        },
    ),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "intermediate_size": 48}),
    "opt": ("OPTConfig", {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gemma2": ("Gemma2Config", {**_GROUPED, "head_dim": 16, "sliding_window": 12}),
    "gemma3_text": ("Gemma3TextConfig", {**_GROUPED, "head_dim": 16, "sliding_window": 12}),
    "gemma3": ("Gemma3Config", {**_GROUPED, "head_dim": 16, "sliding_window": 12}),
    "phi3": ("Phi3Config", _GROUPED),
    "olmo2": ("Olmo2Config", _GROUPED),
}
_EYE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
NAMES = tuple(_CONFIGS)


def tiny_module(name: str, *, seed: int = 0, **config: Any) -> Any:
    """Hugging Face model with random weights, norms and biases included."""
    module = transformers.AutoModelForCausalLM.from_config(_config(name, config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    return module


def _config(name: str, changes: dict[str, Any]) -> Any:
    """Configuration of a family; beside a tiny eye where it reads images too."""
    config_class, fields = _CONFIGS[name]
    fields = {**fields, **changes}
    if name == "gemma3":
        fields = {"text_config": fields, "vision_config": _EYE, "mm_tokens_per_image": 4}
    return getattr(transformers, config_class)(**fields)


def tiny_model(
    name: str = "llama", *, seed: int = 0, tokenizer: bool = False, **config: Any
) -> LanguageModel:
    """Model of a family with random weights; `config` overrides its configuration."""
    module = tiny_module(name, seed=seed, **config)
    return LanguageModel.wrap(module, byte_tokenizer() if tokenizer else None)


def byte_tokenizer() -> Any:
    """Tokenizer with one token per byte and the special tokens <unk> <pad> <s> </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    specials = ["<unk>", "<pad>", "<s>", "</s>"]
    vocabulary.update({symbol: 256 + i for i, symbol in enumerate(specials)})
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def random_prompts(lengths: list[int], seed: int = 0) -> list[tuple[int, ...]]:
    """Token ids below the special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randint(0, 256, (length,), generator=generator).tolist()) for length in lengths
    ]

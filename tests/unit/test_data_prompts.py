"""One prompt for every stage: rendered once, tokenised once, the same on every day."""

import datetime

import pytest

pytest.importorskip("transformers", reason="prompts need the extra 'model'")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from emo.data.prompts import EMOTION_SENTENCE, LENGTH_SENTENCE, PromptBuilder, system_text
from emo.errors import ModelError

CONTENT = "I asked for a raise. He agreed."
TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
DATED = (
    "{{ bos_token }}{% if date_string is not defined %}{% set date_string = "
    "strftime_now('%d %b %Y') %}{% endif %}Today: {{ date_string }}\n" + TURNS
)
CLOCKED = "{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n" + TURNS
REFUSING = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
)
DEAF = (
    "{{ bos_token }}{% for m in messages if m['role'] == 'user' %}<user>{{ m['content'] }}"
    "{% endfor %}<assistant>"
)
TRIMMING = TURNS.replace("m['content']", "m['content'] | trim")
SQUEEZING = TURNS.replace("m['content']", "m['content'].split() | join(' ')")


def tokenizer(template=None, *, adds_bos=True):
    """Return a byte-level tokenizer with a few merges, made in memory."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "a"), ("p", "p"), ("ha", "pp"), ("happ", "y"), ("Ġ", "happy"), (".", "Ġ")]
    tokens = ["<s>", "</s>", *alphabet, *(a + b for a, b in merges)]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if adds_bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return fast


def covered(prompt, spans):
    return "".join(prompt.text[slice(*prompt.offsets[i])] for i in prompt.tokens_in(spans))


def test_system_texts_differ_by_the_emotion_sentence_only():
    assert system_text("anger") == f"{EMOTION_SENTENCE.format(emotion='anger')} {LENGTH_SENTENCE}"
    assert system_text(None) == LENGTH_SENTENCE


def test_neutral_names_no_emotion():
    assert system_text("neutral") == system_text(None)


@pytest.mark.parametrize("template", [None, DATED, REFUSING, DEAF])
@pytest.mark.parametrize("adds_bos", [True, False])
def test_there_is_never_a_second_begin_token(template, adds_bos):
    made = tokenizer(template, adds_bos=adds_bos)
    prompt = PromptBuilder(made).build(CONTENT, "anger")
    assert prompt.ids.count(made.bos_token_id) == (1 if template or adds_bos else 0)
    assert made.bos_token_id not in prompt.ids[1:]


def test_a_template_without_a_begin_token_gets_the_one_the_tokenizer_adds():
    made = tokenizer(TURNS)
    assert PromptBuilder(made).build(CONTENT, None).ids[0] == made.bos_token_id
    bare = tokenizer(TURNS, adds_bos=False)
    assert bare.bos_token_id not in PromptBuilder(bare).build(CONTENT, None).ids


@pytest.mark.parametrize("template", [DATED, CLOCKED])
def test_the_date_in_a_template_is_pinned(template, monkeypatch):
    made = tokenizer(template)

    def on(year):
        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(year, 2, 3)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        messages = [{"role": "user", "content": "Hello."}]
        today = made.apply_chat_template(messages, tokenize=False)
        return today, PromptBuilder(made).build(CONTENT, "anger")

    (then, first), (now, second) = on(2001), on(2031)
    assert then != now
    assert first == second
    assert first.text.startswith("<s>Today: 26 Jul 2024\n")


def test_a_pinned_clock_knows_the_usual_formats_and_leaves_space_alone():
    template = "\n  {% if true %}{{ strftime_now('%A, %B %-d, %Y, %H:%M | %F %y') }}{% endif %}\n"
    text = PromptBuilder(tokenizer(template)).build(CONTENT, None).text
    assert text == "\nFriday, July 26, 2024, 12:00 | 2024-07-26 24"


def test_one_of_several_templates_is_the_default():
    made = tokenizer({"default": TURNS, "tool_use": "{{ 1 }}"})
    assert PromptBuilder(made).build(CONTENT, None).text.endswith("<assistant>")
    with pytest.raises(ModelError, match="cannot be chosen"):
        PromptBuilder(tokenizer({"rag": TURNS, "tool_use": TURNS}))


@pytest.mark.parametrize("template", [REFUSING, DEAF])
def test_a_template_without_a_system_role_gets_the_system_text_from_the_user(template):
    text = PromptBuilder(tokenizer(template)).build(CONTENT, "anger").text
    assert f"<user>{system_text('anger')}\n\n{CONTENT}" in text


def test_a_template_with_a_system_role_gets_it_there():
    text = PromptBuilder(tokenizer(TURNS)).build(CONTENT, "anger").text
    assert text == f"<system>{system_text('anger')}\n<user>{CONTENT}\n<assistant>"


def test_a_template_that_cannot_be_rendered_is_a_model_error():
    for broken in ("{{ raise_exception('No.') }}", "{% for %}"):
        with pytest.raises(ModelError, match="chat template cannot be rendered"):
            PromptBuilder(tokenizer(broken)).build(CONTENT, "anger")


def test_the_fallback_format_is_as_stated():
    builder = PromptBuilder(tokenizer())
    prompt = builder.build(CONTENT, "anger")
    assert prompt.text == f"{system_text('anger')}\n\nUser: {CONTENT}\nBot:"
    assert builder.build(CONTENT, None).text == f"{LENGTH_SENTENCE}\n\nUser: {CONTENT}\nBot:"


def test_braces_in_a_text_are_no_placeholders():
    text = PromptBuilder(tokenizer()).build("He wrote {system} {0}.", None).text
    assert "User: He wrote {system} {0}.\n" in text


@pytest.mark.parametrize("template", [None, DATED])
@pytest.mark.parametrize("reply", ["No way!", "", "happy. And more"])
def test_a_reply_leaves_the_tokens_of_the_prompt_alone(template, reply):
    builder = PromptBuilder(tokenizer(template))
    alone, full = builder.build(CONTENT, "anger"), builder.build(CONTENT, "anger", reply=reply)
    assert full.ids[: full.n_prompt] == alone.ids
    assert (full.n_prompt, full.sha) == (len(alone.ids), alone.sha)
    tail = reply if template or not reply else f" {reply}"
    assert full.text == alone.text + tail
    assert tokenizer().decode(full.ids[full.n_prompt :]) == tail


def test_hashes_follow_the_rendered_prompt():
    builder = PromptBuilder(tokenizer(DATED))
    assert builder.build(CONTENT, "anger").sha == builder.build(CONTENT, "anger").sha
    shas = {builder.build(CONTENT, name).sha for name in ("anger", "fear", None)}
    assert len(shas) == 3
    assert builder.build(CONTENT + " ", "anger").sha != builder.build(CONTENT, "anger").sha


def test_the_fallback_prompt_keeps_its_hash():
    sha = PromptBuilder(tokenizer()).build(CONTENT, "anger").sha
    assert sha == "975d301972cafb81b0ca0673eddc9d76e074122b0616a50b0c1258fba470ec96"


def test_the_template_hash_follows_the_template():
    shas = {PromptBuilder(tokenizer(t)).template_sha for t in (None, TURNS, DATED, REFUSING)}
    assert len(shas) == 4
    assert PromptBuilder(tokenizer(TURNS)).template_sha in shas


def test_a_plain_sentence_has_no_instruction():
    made = tokenizer(DATED)
    prompt = PromptBuilder(made).plain("We are happy now.")
    assert prompt.text == "We are happy now."
    assert made.decode(prompt.ids) == "<s>We are happy now."
    assert PromptBuilder(tokenizer(adds_bos=False)).plain("Hi.").ids[0] != made.bos_token_id


def test_spans_become_the_tokens_that_overlap_them():
    prompt = PromptBuilder(tokenizer()).plain("We are happy now.")
    assert covered(prompt, ((7, 12),)) == " happy"
    assert covered(prompt, ((0, 2), (13, 16))) == "Wenow"
    assert covered(prompt, ((9, 10),)) == " happy"
    assert prompt.tokens_in(()) == ()


def test_spans_count_characters_not_bytes():
    text = "Ça 😀 très happy."
    prompt = PromptBuilder(tokenizer()).plain(text)
    begin = text.index("happy")
    assert covered(prompt, ((begin, begin + 5),)) == " happy"
    assert len(prompt.tokens_in(((3, 4),))) == 4


@pytest.mark.parametrize("template", [None, DATED, REFUSING])
def test_spans_are_found_behind_a_template(template):
    prompt = PromptBuilder(tokenizer(template)).build("We are happy now.", "happiness")
    assert covered(prompt, ((7, 12),)) == " happy"


def test_a_template_that_strips_space_still_locates_spans():
    prompt = PromptBuilder(tokenizer(TRIMMING)).build("  We are happy now. ", None)
    assert "<user>We are happy now.\n" in prompt.text
    assert covered(prompt, ((9, 14),)) == " happy"


def test_a_template_that_rewrites_space_refuses_spans_but_keeps_one_prompt():
    builder = PromptBuilder(tokenizer(SQUEEZING))
    prompt = builder.build("We  are happy now.", None)
    full = builder.build("We  are happy now.", None, reply="No.")
    assert full.ids[: len(prompt.ids)] == prompt.ids
    assert prompt.content_start is None
    with pytest.raises(ModelError, match="template rewrites the text"):
        prompt.tokens_in(((8, 13),))


def test_a_tokenizer_without_offsets_refuses_spans():
    class Slow:
        is_fast = False
        bos_token_id = None
        chat_template = None

        def __call__(self, text, add_special_tokens=True, return_offsets_mapping=False):
            assert not return_offsets_mapping
            return {"input_ids": list(text.encode())}

    prompt = PromptBuilder(Slow()).plain("We are happy now.")
    assert prompt.offsets is None
    with pytest.raises(ModelError, match="cannot tell which characters"):
        prompt.tokens_in(((7, 12),))


@pytest.mark.parametrize("name", ["stories260k-llama", "tinytalk-gptneo"])
def test_real_tokenizers_keep_the_same_promises(shared, name):
    made = PreTrainedTokenizerFast.from_pretrained(shared / "models" / name)
    builder = PromptBuilder(made)
    prompt = builder.build(CONTENT, "anger")
    assert prompt.ids.count(made.bos_token_id) == (1 if name.startswith("stories") else 0)
    assert list(prompt.ids) == made(prompt.text)["input_ids"]
    full = builder.build(CONTENT, "anger", reply="You are so happy.")
    assert full.ids[: full.n_prompt] == prompt.ids
    assert list(full.ids) == made(full.text)["input_ids"]
    sentence = "Ça va 😀, you are happy."
    begin = sentence.index("happy")
    assert covered(builder.plain(sentence), ((begin, begin + 5),)).strip() == "happy"

"""The one prompt builder of every stage.

A prompt has a system text, which names the emotion or does not, and a user text. It is
rendered through the tokenizer's chat template when it has one and by a stated fallback format
otherwise, then tokenised once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from emo.artifacts import sha256_text
from emo.data.samples import NEUTRAL
from emo.errors import ModelError, import_extra

EMOTION_SENTENCE = "Always reply in {emotion}."
LENGTH_SENTENCE = "Keep the reply to at most two sentences."
FALLBACK = "{system}\n\nUser: {content}\nBot:"
_MEND = "mend the template, or remove it: prompts then have a plain form"
PINNED_DATE = "26 Jul 2024"
_CLOCK = {
    "%d": "26", "%-d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24",
    "%a": "Fri", "%A": "Friday", "%F": "2024-07-26", "%H": "12", "%M": "00", "%S": "00",
}  # fmt: skip
# Renderers pass no functions on to a template, so the clock is pinned inside it; the line break
# behind the macro is dropped when rendered.
_PINNED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _CLOCK.items())
    + " }}{% endmacro %}\n"
)


@dataclass(frozen=True)
class Prompt:
    """A rendered and tokenised prompt, with or without a reply behind it.

    Parameters
    ----------
    text : str
        The rendered text, special tokens included, reply included.
    ids : tuple of int
        Token ids, tokenised once.
    n_prompt : int
        Tokens of the prompt; the reply's tokens follow from this index on.
    sha : str
        Hex SHA-256 of the rendered prompt without the reply.
    offsets : tuple of (start, end) or None
        Characters of `text` that each token of the prompt covers; None for tokenizers that
        cannot tell.
    content_start : int or None
        Where the sample's own text begins in `text`; None when the template rewrote it.
    """

    text: str
    ids: tuple[int, ...]
    n_prompt: int
    sha: str
    offsets: tuple[tuple[int, int], ...] | None = None
    content_start: int | None = None

    def tokens_in(self, spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
        """Return the indices of the prompt's tokens that overlap `spans`.

        Parameters
        ----------
        spans : tuple of (start, end)
            Half-open ranges of code points in the sample's text.

        Raises
        ------
        ModelError
            When the tokenizer or the template does not let characters be located.
        """
        if self.offsets is None:
            raise ModelError(
                "this tokenizer cannot tell which characters a token covers",
                hint="use a fast tokenizer, or another position than 'span'",
            )
        if self.content_start is None:
            raise ModelError(
                "the chat template rewrites the text, so spans cannot be located in it",
                hint="use another position than 'span'",
            )
        begin = self.content_start
        return tuple(
            index
            for index, (first, last) in enumerate(self.offsets)
            if first < last and any(first < begin + b and begin + a < last for a, b in spans)
        )


def system_text(emotion: str | None) -> str:
    """Return the system text that names `emotion`; for None and "neutral" it names none.

    >>> system_text("anger")
    'Always reply in anger. Keep the reply to at most two sentences.'
    >>> system_text(None)
    'Keep the reply to at most two sentences.'
    """
    if emotion in (None, NEUTRAL):
        return LENGTH_SENTENCE
    return f"{EMOTION_SENTENCE.format(emotion=emotion)} {LENGTH_SENTENCE}"


class PromptBuilder:
    """Build prompts for one tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Its chat template is used when it has one. A template without a system role gets the
        system text in front of the user text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._template = _chat_template(tokenizer)
        self._pinned = _pin_clock(self._template)
        self._takes_system = bool(self._template) and self._renders_system()
        self._bos = self._added_bos()

    @property
    def template_sha(self) -> str:
        """Hex SHA-256 of the chat template or of the fallback format, and the system texts."""
        template = self._template or FALLBACK
        return sha256_text("\n".join([template, EMOTION_SENTENCE, LENGTH_SENTENCE]))

    def build(self, content: str, emotion: str | None, *, reply: str | None = None) -> Prompt:
        """Render and tokenise a prompt that asks for a reply to `content`.

        Parameters
        ----------
        content : str
            Scenario and event, or a sentence.
        emotion : str or None
            Named in the system text; None names none.
        reply : str, optional
            A reply to put behind the prompt, whose own tokens stay as they are without it.

        Raises
        ------
        ModelError
            When the tokenizer's chat template cannot be rendered.
        """
        prompt = self._tokenise(self._render(content, emotion), content)
        return prompt if reply is None else self._with_reply(prompt, reply)

    def plain(self, text: str) -> Prompt:
        """Tokenise a labelled sentence as it stands, without instruction or template."""
        return self._tokenise(text, text)

    def _render(self, content: str, emotion: str | None) -> str:
        if not self._template:
            return FALLBACK.format(system=system_text(emotion), content=content)
        try:
            return self._apply(self._messages(content, system_text(emotion)))
        except _template_error() as error:
            raise ModelError(
                f"the model's chat template cannot be rendered: {error}", hint=_MEND
            ) from None

    def _messages(self, content: str, system: str) -> list[dict[str, str]]:
        if self._takes_system:
            return [{"role": "system", "content": system}, {"role": "user", "content": content}]
        return [{"role": "user", "content": f"{system}\n\n{content}"}]

    def _apply(self, messages: list[dict[str, str]]) -> str:
        rendered = self._tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=self._pinned,
            date_string=PINNED_DATE,
        )
        return str(rendered)

    def _renders_system(self) -> bool:
        probe = "A probe of the system role."
        try:
            return probe in self._apply(
                [{"role": "system", "content": probe}, {"role": "user", "content": "Hello."}]
            )
        except _template_error():
            return False

    def _added_bos(self) -> int | None:
        bos = getattr(self._tokenizer, "bos_token_id", None)
        ids = self._tokenizer("a")["input_ids"]
        return bos if bos is not None and ids and ids[0] == bos else None

    def _tokenise(self, text: str, content: str) -> Prompt:
        fast = bool(getattr(self._tokenizer, "is_fast", False))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast)
        ids = tuple(int(token) for token in encoded["input_ids"])
        offsets = [(int(a), int(b)) for a, b in encoded["offset_mapping"]] if fast else None
        if self._bos is not None and ids[:1] != (self._bos,):
            ids = (self._bos, *ids)
            offsets = None if offsets is None else [(0, 0), *offsets]
        return Prompt(
            text=text,
            ids=ids,
            n_prompt=len(ids),
            sha=sha256_text(text),
            offsets=None if offsets is None else tuple(offsets),
            content_start=_start(text, content),
        )

    def _with_reply(self, prompt: Prompt, reply: str) -> Prompt:
        tail = reply if self._template or not reply else f" {reply}"
        added: tuple[int, ...] = tuple(self._tokenizer(tail, add_special_tokens=False)["input_ids"])
        if not self._template:
            # Tokenizers that mark word beginnings would mark the tail's leading space twice.
            whole = self._tokenise(prompt.text + tail, "").ids
            if whole[: prompt.n_prompt] == prompt.ids:
                added = whole[prompt.n_prompt :]
        return replace(prompt, text=prompt.text + tail, ids=prompt.ids + added)


def _chat_template(tokenizer: Any) -> str | None:
    if not getattr(tokenizer, "chat_template", None):
        return None
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ModelError(
            f"the model's chat template cannot be chosen: {error}", hint=_MEND
        ) from None


def _pin_clock(template: str | None) -> str | None:
    if template is None or "strftime_now" not in template:
        return template
    return _PINNED_CLOCK + template


def _template_error() -> type[Exception]:
    error: type[Exception] = import_extra("jinja2", "model").TemplateError
    return error


def _start(text: str, content: str) -> int | None:
    """Where `content` begins in `text`; templates may strip space around it."""
    stripped = content.strip()
    found = text.rfind(stripped)
    return None if found < 0 else found - content.index(stripped)

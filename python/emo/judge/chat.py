"""A chat model behind an OpenAI-compatible endpoint as a judge.

The endpoint and key come from the client's own variables, ``OPENAI_BASE_URL`` and
``OPENAI_API_KEY``. The judge sees the reply alone. Blind, it chooses one of the classes; with
the target named, it says whether the reply expresses it. Answers are read strictly: anything
but the one word asked for is no answer, never a "no".
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emo.data.samples import DEFAULT_EMOTIONS, NEUTRAL
from emo.data.texts import Text, Verdict
from emo.errors import ResourceError, UsageError, import_extra
from emo.judge.protocol import Progress, labelled, unlabelled, without_judging

BLIND = (
    "Which emotion does the following reply express most clearly? Answer with exactly one of "
    "these words and nothing else: {classes}. Answer neutral when it expresses none of them."
    "\n\nReply: {reply}"
)
NAMED = (
    "Does the following reply express {emotion}? Answer with exactly one word, yes or no."
    "\n\nReply: {reply}"
)
OTHER = "other"
NO_ANSWER, CUT_OFF, NO_TARGET = "no-answer", "cut-off", "no-target"
_AROUND = " \t\r\n.!\"'`*“”‘’"
_MAX_FAILURES = 5
_CONNECT_SECONDS = 5.0
_TICK = 0.1


@dataclass(frozen=True)
class ChatJudge:
    """Ask a chat model about each reply.

    Parameters
    ----------
    model : str
        Name of the model at the endpoint.
    emotions : tuple of str
        Emotions to choose from; ``neutral`` is added.
    named : bool
        Ask about the target by name. A "no" has the label ``other``; a text without a target
        has no label. Asking by name invites a "yes", so blind is the default.
    timeout : float
        Seconds that one request may take.
    retries : int
        Further attempts after a timeout, a lost connection, or a status of 408, 409, 429 or
        500 and above; the waiting times grow.
    n_at_once : int
        Requests under way at the same time.
    max_tokens : int
        Longest answer; a longer one has no label.
    """

    model: str
    emotions: tuple[str, ...] = DEFAULT_EMOTIONS
    named: bool = False
    timeout: float = 30.0
    retries: int = 3
    n_at_once: int = 4
    max_tokens: int = 16
    reliability: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``chat:``, the model and how it is asked."""
        return f"chat:{self.model} ({'named' if self.named else 'blind'})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions and ``neutral``."""
        return tuple(dict.fromkeys((*self.emotions, NEUTRAL)))

    def judge(self, texts: Sequence[Text], progress: Progress | None = None) -> list[Verdict]:
        """Ask about each reply; the order of the texts is kept.

        Raises
        ------
        ResourceError
            When the endpoint refuses a request, or fails several times in a row or on the
            first text.
        UsageError
            When no key is set.
        """
        client = _client(self)
        run = _Run(self, client)
        verdicts = []
        with client:
            for verdict in _in_order(run.verdict, texts, self.n_at_once):
                verdicts.append(verdict)
                if progress is not None:
                    progress(len(verdicts), len(texts))
        return verdicts

    def prompt(self, text: Text) -> str:
        """Return the question about one text."""
        if self.named:
            return NAMED.format(emotion=text.emotion, reply=text.reply)
        return BLIND.format(classes=", ".join(self.classes), reply=text.reply)

    def read(self, answer: str, text: Text) -> str | None:
        """Return the label that an answer gives, or None when it is not the word asked for.

        >>> judge = ChatJudge("m")
        >>> judge.read(" **Anger**.", None), judge.read("I think anger", None)
        ('anger', None)
        """
        word = answer.strip(_AROUND).lower()
        if self.named:
            return {"yes": text.emotion, "no": OTHER}.get(word)
        known = {name.lower(): name for name in self.classes}
        return known.get(word)


def _in_order(
    task: Callable[[Text], Verdict], texts: Sequence[Text], n_threads: int
) -> Iterator[Verdict]:
    """Yield the result for each text, in order.

    The threads are daemons that nobody waits for: a request may hang for minutes, and an interrupt
    or an error must not hang with it.
    """
    waiting: queue.SimpleQueue[tuple[int, Text]] = queue.SimpleQueue()
    for item in enumerate(texts):
        waiting.put(item)
    done: queue.SimpleQueue[tuple[int, Verdict | BaseException]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                index, text = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, task(text)))
            except BaseException as error:
                done.put((index, error))

    for _ in range(min(n_threads, len(texts))):
        threading.Thread(target=work, daemon=True).start()
    ready: dict[int, Verdict | BaseException] = {}
    try:
        for index in range(len(texts)):
            while index not in ready:
                with contextlib.suppress(queue.Empty):
                    at, outcome = done.get(timeout=_TICK)
                    ready[at] = outcome
            found = ready.pop(index)
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stop.set()


class _Run:
    """One pass over texts: the client, and how many texts in a row the endpoint failed on."""

    def __init__(self, judge: ChatJudge, client: Any) -> None:
        self._judge = judge
        self._client = client
        self._openai = import_extra("openai", "chat")
        self._answered = False
        self._failures = 0

    def verdict(self, text: Text) -> Verdict:
        judge = self._judge
        reason = without_judging(text, judge.classes if not judge.named else _any(text))
        if reason is None and judge.named and text.emotion is None:
            reason = NO_TARGET
        if reason is not None:
            return unlabelled(text, judge.name, reason)
        try:
            choice = self._ask(judge.prompt(text))
        except self._openai.APIConnectionError as error:
            slow = isinstance(error, self._openai.APITimeoutError)
            return self._failed(text, "timeout" if slow else "no-connection", error)
        except self._openai.APIStatusError as error:
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise _refused(judge.model, error) from None
            return self._failed(text, f"status-{error.status_code}", error)
        except (self._openai.APIError, ValueError) as error:
            return self._failed(text, "broken-answer", error)
        self._answered, self._failures = True, 0
        return self._read(text, choice)

    def _ask(self, prompt: str) -> Any:
        answer = self._client.chat.completions.create(
            model=self._judge.model,
            messages=[{"role": "user", "content": prompt}],
            temperature=0,
            max_tokens=self._judge.max_tokens,
        )
        choices = getattr(answer, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise ValueError("the answer does not follow the chat-completions protocol")
        return choices[0]

    def _read(self, text: Text, choice: Any) -> Verdict:
        content = choice.message.content
        label = self._judge.read(content, text) if isinstance(content, str) else None
        if label is not None:
            return labelled(text, self._judge.name, label, None)
        cut = choice.finish_reason == "length"
        return unlabelled(text, self._judge.name, CUT_OFF if cut else NO_ANSWER)

    def _failed(self, text: Text, reason: str, error: Exception) -> Verdict:
        self._failures += 1
        if not self._answered or self._failures > _MAX_FAILURES:
            raise ResourceError(
                f"the chat endpoint {self._client.base_url} does not answer: {reason} ({error})",
                hint="check OPENAI_BASE_URL and that the server runs",
            ) from None
        return unlabelled(text, self._judge.name, reason)


def _any(text: Text) -> tuple[str, ...]:
    return () if text.emotion is None else (text.emotion,)


def _client(judge: ChatJudge) -> Any:
    openai = import_extra("openai", "chat")
    try:
        return openai.OpenAI(
            timeout=openai.Timeout(judge.timeout, connect=min(judge.timeout, _CONNECT_SECONDS)),
            max_retries=judge.retries,
        )
    except openai.OpenAIError as error:
        raise UsageError(
            f"the chat judge cannot start: {str(error).splitlines()[0]}",
            hint="set OPENAI_API_KEY, and OPENAI_BASE_URL for an endpoint of your own",
        ) from None


def _refused(model: str, error: Any) -> ResourceError:
    hints = {401: "check OPENAI_API_KEY", 403: "check OPENAI_API_KEY", 404: "check the model name"}
    message = str(getattr(error, "message", error)).splitlines()[0]
    return ResourceError(
        f"the chat endpoint refused {model} with status {error.status_code}: {message}",
        hint=hints.get(error.status_code),
    )

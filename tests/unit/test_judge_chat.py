"""The chat judge against a real local server that speaks the chat-completions protocol."""

import _thread
import threading
import time

import pytest
from judge_toys import chat_server, content, text

from emo.errors import ResourceError, UsageError
from emo.judge import open_judge
from emo.judge.chat import ChatJudge

pytest.importorskip("openai")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    """Wait milliseconds between attempts; the client's own waiting times are not under test."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)


def judged(monkeypatch, answer, texts, **options):
    with chat_server(answer) as (url, seen):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
        return ChatJudge("m", **options).judge(texts), seen


def test_blind_it_is_asked_for_one_of_seven_words(monkeypatch):
    replies = {"I am livid.": "anger", "It rains.": " **Neutral**.\n", "Yuck!": '"Disgust"'}
    texts = [text(reply, "anger", sample=f"s{i}") for i, reply in enumerate(replies)]

    def answer(request):
        [message] = request["messages"]
        return content(next(word for reply, word in replies.items() if reply in message["content"]))

    verdicts, seen = judged(monkeypatch, answer, texts)
    assert [verdict.label for verdict in verdicts] == ["anger", "neutral", "disgust"]
    assert [verdict.id for verdict in verdicts] == [given.id for given in texts]
    assert {verdict.judge for verdict in verdicts} == {"chat:m (blind)"}
    request = seen[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer sk-local"
    assert (request["model"], request["temperature"]) == ("m", 0)
    asked = request["messages"][0]["content"]
    assert "anger, sadness, happiness, fear, surprise, disgust, neutral" in asked
    assert texts[0].source.content not in asked


def test_blind_it_is_never_told_the_target(monkeypatch):
    question = ChatJudge("m", ("envy", "pride")).prompt(text("Mine!", "envy"))
    assert question == ChatJudge("m", ("envy", "pride")).prompt(text("Mine!", "pride"))


def test_named_it_is_asked_yes_or_no(monkeypatch):
    def answer(request):
        return content("Yes." if "express anger" in request["messages"][0]["content"] else "no")

    texts = [text("Grr!", "anger"), text("Grr!", "fear"), text("Grr!", None)]
    verdicts, seen = judged(monkeypatch, answer, texts, named=True)
    assert [verdict.label for verdict in verdicts] == ["anger", "other", None]
    assert verdicts[2].unlabelled == "no-target"
    assert len(seen) == 2


@pytest.mark.parametrize(
    "said", ["I would say anger", "anger or fear", "yes", "", "wrath", "neutral, mostly", None]
)
def test_anything_but_the_word_asked_for_is_no_answer(monkeypatch, said):
    verdicts, _ = judged(monkeypatch, lambda _: content(said), [text("Grr!", "anger")])
    assert (verdicts[0].label, verdicts[0].unlabelled) == (None, "no-answer")


@pytest.mark.parametrize("said", ["Yes, it does", "maybe", "anger", "yes no", "y"])
def test_named_only_yes_and_no_count(monkeypatch, said):
    verdicts, _ = judged(monkeypatch, lambda _: content(said), [text("G", "anger")], named=True)
    assert (verdicts[0].label, verdicts[0].unlabelled) == (None, "no-answer")


def test_an_answer_that_was_cut_off_has_its_own_reason(monkeypatch):
    answer = content("The reply seems to express a kind of", "length")
    verdicts, _ = judged(monkeypatch, lambda _: answer, [text("Grr!", "anger")])
    assert verdicts[0].unlabelled == "cut-off"


def test_empty_replies_are_not_sent(monkeypatch):
    verdicts, seen = judged(monkeypatch, lambda _: content("anger"), [text(" "), text("", "anger")])
    assert [verdict.unlabelled for verdict in verdicts] == ["empty", "empty"]
    assert seen == []


def test_a_busy_server_is_asked_again(monkeypatch):
    answers = iter([(429, {}), (503, {}), content("fear")])
    verdicts, seen = judged(monkeypatch, lambda _: next(answers), [text("Eek!", "fear")])
    assert verdicts[0].label == "fear"
    assert len(seen) == 3


def test_attempts_are_limited_and_one_failure_leaves_one_row_unlabelled(monkeypatch):
    def answer(request):
        bad = "broken" in request["messages"][0]["content"]
        return (500, {"error": {"message": "no"}}) if bad else content("fear")

    texts = [text("Eek!", "fear"), text("broken", "fear", sample="b"), text("Eek!", "fear")]
    verdicts, seen = judged(monkeypatch, answer, texts, retries=2, n_at_once=1)
    assert [v.unlabelled for v in verdicts] == [None, "status-500", None]
    assert sum("broken" in str(request["messages"]) for request in seen) == 3


def test_a_slow_answer_times_out(monkeypatch):
    release = threading.Event()

    def answer(request):
        if "slow" in request["messages"][0]["content"]:
            release.wait(5)
        return content("fear")

    texts = [text("Eek!", "fear"), text("slow", "fear", sample="b")]
    began = time.perf_counter()
    with chat_server(answer) as (url, _):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        verdicts = ChatJudge("m", timeout=0.3, retries=0, n_at_once=1).judge(texts)
        release.set()
    assert [v.unlabelled for v in verdicts] == [None, "timeout"]
    assert time.perf_counter() - began < 4


NONSENSE = [
    b"<html>",
    {"object": "chat.completion"},
    {"choices": []},
    {"choices": [{"index": 0, "finish_reason": "stop"}]},
    ["fear"],
]


def test_an_interrupt_does_not_wait_for_a_server_that_hangs(monkeypatch):
    release = threading.Event()

    def answer(request):
        release.wait(20)
        return content("anger")

    timer = threading.Timer(0.5, _thread.interrupt_main)
    with chat_server(answer) as (url, _):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            ChatJudge("m").judge([text("Grr!", sample=f"s{i}") for i in range(8)])
        assert time.monotonic() - began < 3
        release.set()


@pytest.mark.parametrize("body", NONSENSE)
def test_nonsense_from_the_server_is_a_failure_of_that_row(monkeypatch, body):
    answers = iter([content("fear"), (200, body), content("fear")])
    texts = [text("Eek!", "fear", sample=f"s{i}") for i in range(3)]
    verdicts, _ = judged(monkeypatch, lambda _: next(answers), texts, n_at_once=1)
    assert [v.unlabelled for v in verdicts] == [None, "broken-answer", None]
    with pytest.raises(ResourceError, match="broken-answer"):
        judged(monkeypatch, lambda _: (200, body), texts)


@pytest.mark.parametrize("said", [["anger"], {"text": "anger"}, 3])
def test_an_answer_that_is_no_text_is_no_answer(monkeypatch, said):
    verdicts, _ = judged(monkeypatch, lambda _: content(said), [text("Grr!", "anger")])
    assert verdicts[0].unlabelled == "no-answer"


@pytest.mark.parametrize(("status", "hint"), [(401, "API_KEY"), (404, "model name")])
def test_a_refusal_ends_the_run_at_once(monkeypatch, status, hint):
    refusal = (status, {"error": {"message": "not with me"}})
    with pytest.raises(ResourceError, match=f"status {status}.*not with me") as caught:
        judged(monkeypatch, lambda _: refusal, [text("Eek!", "fear")])
    assert hint in caught.value.hint


def test_a_server_that_never_works_ends_the_run(monkeypatch):
    with pytest.raises(ResourceError, match="does not answer: status-500"):
        judged(monkeypatch, lambda _: (500, {}), [text("Eek!", "fear")], retries=0)


def test_an_endpoint_that_is_not_there_is_reported_soon(monkeypatch):
    with chat_server(lambda _: content("fear")) as (url, _):
        pass
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    began = time.perf_counter()
    with pytest.raises(ResourceError, match="no-connection"):
        ChatJudge("m").judge([text("Eek!", "fear")])
    assert time.perf_counter() - began < 10


def test_without_a_key_the_judge_says_which_variable_to_set(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    with pytest.raises(UsageError, match="cannot start") as caught:
        open_judge("chat:m").judge([text("Eek!", "fear")])
    assert "OPENAI_API_KEY" in caught.value.hint

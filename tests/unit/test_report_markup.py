"""Everything that is put into a page is escaped, unless it is markup already."""

import doctest
import importlib

import pytest

from emo.report.markup import Markup, escape, join, number, tag

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def test_plain_texts_are_escaped() -> None:
    assert tag("p", HOSTILE) == (
        "<p>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;quotes&quot;</p>"
    )
    assert escape(tag("b", "a & b")) == "<b>a &amp; b</b>"
    assert join(["<", tag("br")], "&") == "&lt;&amp;<br>"


def test_attributes_are_escaped() -> None:
    assert tag("p", title='" onclick="x') == '<p title="&quot; onclick=&quot;x"></p>'


def test_names_of_attributes() -> None:
    made = tag("meta", http_equiv="a", class_="b", open="", hidden=None, name="n")
    assert made == '<meta http-equiv="a" class="b" open name="n">'


def test_empty_pictures_close_themselves() -> None:
    assert tag("path", d="M0 0") == '<path d="M0 0"/>'
    assert tag("path", tag("title", "t"), d="M0 0") == '<path d="M0 0"><title>t</title></path>'


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\x7f", "\x85", "\ud800", "\ufffe"])
def test_signs_that_html_forbids(sign: str) -> None:
    assert escape(f"a{sign}b") == "a\ufffdb"
    escape(f"a{sign}b").encode()


def test_other_signs_stay() -> None:
    text = "tab\t, line\n, é, 漢字, 😀, \u202eright to left"
    assert escape(text) == text


def test_markup_is_text() -> None:
    assert isinstance(tag("p"), Markup)
    assert len(tag("p")) == 7


def test_numbers_are_short() -> None:
    assert [number(x) for x in (1, 1.04, 1.25, -0.01, 100)] == ["1", "1", "1.2", "0", "100"]


@pytest.mark.parametrize("module", ["markup", "wording", "svg", "heat"])
def test_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"emo.report.{module}"))
    assert found.attempted
    assert not found.failed

"""Ids that are made of values: readable, the same for the same values, different for different ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

import pytest
from draftline_server.record_files.record_ids import MAX_ID_CHARS, made_id
from hypothesis import example, given
from hypothesis import strategies as st

DIGEST = r"[0-9a-f]{16}"


@pytest.mark.parametrize(
    ("values", "made"),
    [
        (["The Land Girls", "Jun 12 1998"], "the-land-girls-jun-12-1998"),
        (["Alien", "May 25 1979"], "alien-may-25-1979"),
        (["Titanic II", "Aug 07 2010"], "titanic-ii-aug-07-2010"),
        (["dances with Wolves", "1990-11-09"], "dances-with-wolves-1990-11-09"),
        ([1776, "Nov 09 1972"], "1776-nov-09-1972"),
        ([None, "Dec 25 2002"], "dec-25-2002"),
        (["Жизнь", "人生"], "жизнь-人生"),
        (["काली"], "काली"),
        ([True], "true"),
        (["", None, "  "], ""),
    ],
)
def test_usual_values_make_an_id_of_their_words(values: list[object], made: str) -> None:
    assert made_id(values) == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["C++"], "c"),
        (["C#"], "c"),
        (["ALIEN"], "alien"),
        (["iPhone"], "iphone"),
        (["A-B"], "a-b"),
        (["-5"], "5"),
        (["Alien³"], "alien3"),
        (["a", "b c"], "a-b-c"),
        (["Alien", None], "alien"),
        (["", "Alien"], "alien"),
        ([" Alien"], "alien"),
        (["\u212a"], "k"),  # the Kelvin sign
        ([unicodedata.normalize("NFD", "Café")], "café"),
        ([["a", {"b": 1}]], "a-b-1"),
    ],
)
def test_unusual_values_get_a_digest_as_well(values: list[object], words: str) -> None:
    assert re.fullmatch(f"{words}-{DIGEST}", made_id(values))


def test_values_without_a_word_make_a_digest() -> None:
    assert re.fullmatch(DIGEST, made_id(["!?"]))
    assert made_id(["!?"]) != made_id(["?!"])


def test_ids_stay_as_they_are() -> None:
    """Derived ids never change, so that later versions find imported records."""
    assert made_id(["C++"]) == "c-279dca1fc145acc7"
    assert made_id(["Alien³", None]) == "alien3-3ad9d59f04ed880c"
    assert made_id(["Word " * 99 + "Word"]).endswith("-word-w-6c64a9ccd3065f18")


def test_value_that_looks_like_the_id_of_another_gets_another() -> None:
    made = made_id(["C++"])
    assert len({made, made_id([made]), made_id([made.replace("-", " ")])}) == 3


def usual(texts: list[str | None]) -> list[str | None]:
    """The texts without what ids do not tell apart: capitals that begin words, and those of Roman numerals."""

    def word(text: str) -> str:
        if re.fullmatch("(?=[IVX]{2})X{0,3}(IX|IV|V?I{0,3})", text):
            return text.lower()
        first = text[:1].lower()
        return first + text[1:] if len(first) == 1 and first.upper() == text[:1] else text

    return [None if text is None else " ".join(map(word, text.split(" "))) for text in texts]


# Few characters, so that values often have the same words: signs, marks, letters that fold to others, parts of dates.
chars = st.sampled_from([*"aAbBiIvVxXsSkK019 -+#.'", "ß", "ſ", "K", "İ", "ı", "\u0307", "é", "e\u0301", "ि", "ा", "क",
                         "ς", "Σ", "σ", "ﬁ", "³", "\u200d", "\u00ad", "\n", "🎬", "_"])  # fmt: skip
words = st.sampled_from(["Jun", "12", "1998", "1998-06-12", "06", "May", "II", "a", "B", "C++", "c"])
texts = (
    st.none()
    | st.lists(chars, max_size=6).map("".join)
    | st.lists(words, max_size=5).map(" ".join)
    | st.text(max_size=8)
)
lists = st.integers(1, 3).flatmap(lambda count: st.tuples(*[st.lists(texts, min_size=count, max_size=count)] * 2))


respellings = st.sampled_from([
    str.swapcase, str.lower, str.title, str.casefold,
    lambda text: text.replace(" ", "-"),
    lambda text: text.replace(" ", "  "),
    lambda text: text + "+",
    lambda text: " " + text,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFKC", text),
])  # fmt: skip


def refuse_same_id(first: list[str | None], second: list[str | None]) -> None:
    made = made_id(first), made_id(second)
    if made[0] == made[1] != "":
        assert usual(first) == usual(second)
    if first == second:
        assert made[0] == made[1]


@given(lists)
@example((["a", "b c"], ["a b", "c"]))
@example((["A", "Jun 12 1998"], ["A Jun", "12 1998"]))
@example(([None, "a"], ["a", None]))
@example((["Straße"], ["Strasse"]))
def test_different_values_make_different_ids(pair: tuple[list[str | None], list[str | None]]) -> None:
    refuse_same_id(*pair)


@given(texts.filter(bool), respellings)
def test_another_spelling_makes_another_id(text: str, respell: Callable[[str], str]) -> None:
    refuse_same_id([text], [respell(text)])
    refuse_same_id([text, "x"], [respell(text), "x"])


@given(st.lists(words, min_size=2, max_size=6), st.data())
def test_words_of_another_field_make_another_id(found: list[str], data: st.DataObject) -> None:
    cuts = data.draw(st.tuples(*[st.integers(0, len(found))] * 2))
    first, second = ([" ".join(found[:cut]) or None, " ".join(found[cut:]) or None] for cut in cuts)
    refuse_same_id(first, second)


numbers = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)


@given(st.lists(st.none() | st.text() | numbers | st.booleans(), min_size=1))
def test_id_keeps_the_rules_of_the_service(values: list[object]) -> None:
    made = made_id(values)
    assert len(made) <= MAX_ID_CHARS
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in made)
    assert made == made_id([str(value) if isinstance(value, int | Decimal) else value for value in values]) or any(
        isinstance(value, bool) for value in values
    )


@given(st.text("ab ", min_size=100, max_size=400), st.text("ab ", min_size=100, max_size=400))
def test_long_values_are_cut_and_stay_apart(first: str, second: str) -> None:
    made = made_id([first]), made_id([second])
    if "" not in made:
        assert (made[0] == made[1]) is (first == second)
        assert all(len(each) <= MAX_ID_CHARS for each in made)

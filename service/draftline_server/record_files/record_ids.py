"""Readable ids made from a record's values: equal values have equal ids, and different values different ids.

An id is the words of the values in lower case, joined by hyphens: `the-land-girls-jun-12-1998`. Such an id without a
digest represents a single spelling of the values, the usual one (see `_spelled`). The id of values with another
spelling, such as `C++`, `A-B` or `ALIEN`, ends in a digest of the exact values.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from draftline.documents import encode

MAX_ID_CHARS = 128
DIGEST_CHARS = 16  # hexadecimal: 64 bits
MAX_SLUG_CHARS = MAX_ID_CHARS - DIGEST_CHARS - 1

_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_CHARS}}}")
_ROMAN = re.compile(r"(?=[IVX]{2})X{0,3}(?:IX|IV|V?I{0,3})")
_ISO_DATE = re.compile(r"[0-9]{4} [0-9]{2} [0-9]{2}")
_NAMED_DATE = re.compile(
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?) [0-9]{1,2} [0-9]{4}"
)


def made_id(values: Iterable[object]) -> str:
    """Return the id for these values, or an empty string if all of them are empty.

    A number is treated as its text, so 1776 and "1776" are the same value. An id has at most 128 characters and no
    control characters.
    """
    texts = [_text(value) for value in values]
    if not any(text and not text.isspace() for text in texts):
        return ""
    fields = [_words(text or "") for text in texts]
    words = [word for field in fields for word in field]
    slug = "-".join(words)
    if _is_usual(texts, fields, words):
        if len(slug) <= MAX_ID_CHARS:
            return slug
        return f"{slug[:MAX_SLUG_CHARS]}-{_digest(slug)}"
    cut = slug[:MAX_SLUG_CHARS].rstrip("-")
    digest = _digest(json.dumps(texts))
    return f"{cut}-{digest}" if cut else digest


def _is_usual(texts: Sequence[str | None], fields: Sequence[list[str]], words: list[str]) -> bool:
    """Return whether the words alone determine these values, so that no other values have the same id."""
    return (
        fields == _split(words, len(fields))
        and "" not in texts  # a field without words is read as null
        and all(_folded(text) == _spelled(field) for text, field in zip(texts, fields, strict=True) if text is not None)
        and not _DIGEST.fullmatch(words[-1])
    )


def _split(words: list[str], count: int) -> list[list[str]]:
    """Split the words of an id into fields. Each field after the first is a single word or a date.

    Leading fields for which no words are left are null.
    """
    rest, fields = list(words), []
    for _ in range(count - 1):
        length = 3 if _is_date(rest[-3:]) else 1
        fields.append(rest[-length:])
        del rest[-length:]
    return [rest, *reversed(fields)]


def _spelled(words: Sequence[str]) -> str:
    """Return the usual spelling of these words: separated by spaces, with hyphens in a date such as 1979-05-25."""
    parts, at = [], 0
    while at < len(words):
        length = 3 if _is_iso_date(words[at : at + 3]) else 1
        parts.append("-".join(words[at : at + length]))
        at += length
    return " ".join(parts)


def _is_date(words: Sequence[str]) -> bool:
    return _is_iso_date(words) or (len(words) == 3 and _NAMED_DATE.fullmatch(" ".join(words)) is not None)


def _is_iso_date(words: Sequence[str]) -> bool:
    lengths_fit = len(words) == 3 and len(words[0]) == 4 and len(words[1]) == len(words[2]) == 2  # a cheap check first
    return lengths_fit and _ISO_DATE.fullmatch(" ".join(words)) is not None


def _folded(text: str) -> str:
    """Return the text with the usual capitals in lower case: first letters of words, and Roman numerals."""
    return " ".join(map(_folded_word, text.split(" ")))


def _folded_word(word: str) -> str:
    if word.islower() or word.isdecimal():
        return word
    if _ROMAN.fullmatch(word):
        return word.lower()
    first = word[:1].lower()
    # Keep a letter that shares its lower case with another one, as the Kelvin sign does with K: folding loses it.
    return first + word[1:] if len(first) == 1 and first.upper() == word[0] else word


def _words(text: str) -> list[str]:
    """Return the runs of letters, marks and digits, in lower case. Format characters (Cf) do not separate words."""
    if text.isascii():
        return re.findall(r"[a-z0-9]+", text.lower())
    kept = []
    for char in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(char)
        if category[0] in "LMN":
            kept.append(char.lower())
        elif category != "Cf":
            kept.append(" ")
    return "".join(kept).split()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(Decimal(value))  # unlike str(int), Decimal has no limit of digits
    return encode(_ordered(value))


def _ordered(value: object) -> object:
    """Return the value with the keys of objects sorted, because their order has no meaning in JSON."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list | tuple) else value

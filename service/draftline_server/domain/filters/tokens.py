"""Conversion of a filter's tokens to fields and literals."""

import itertools
import re
from collections.abc import Iterable

from lark import Token

from .ast import Field, FilterError, Literal, LiteralKind, Operator
from .values import looks_like_number

MAX_STARS = 8  # in one quoted text
_SEGMENT = re.compile(r""""(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|[^."']+""")
_PIECE = re.compile(r"\\u([0-9a-fA-F]{4})|\\([\s\S])|(\*)|[^\\*]+")
_INDEX = re.compile(r"[+-]?[0-9]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", **{same: same for same in "\"'\\/*"}}


def field_of(token: Token) -> Field:
    position = start_of(token)
    segments = list(_SEGMENT.finditer(token))
    path = tuple(_name(match[0], position + match.start()) for match in segments)
    is_named = path[0] in ("content", "record")
    if is_named and len(path) == 1:
        of = "an attribute, such as record.version" if path[0] == "record" else "a field, such as content.title"
        raise FilterError(f"{path[0]} needs the name of {of}; a field of this name is content.{path[0]}", position)
    for match in segments[2 if is_named else 1 :]:
        if _INDEX.fullmatch(match[0]):
            raise _index_error(str(token), match, position)
    if not is_named:
        return Field(path, position=position)
    return Field(path[1:], of_record=path[0] == "record", position=position, is_explicit=path[0] == "content")


def _name(segment: str, position: int) -> str:
    """Return one name of a path, quoted or not. A star in a name is an ordinary character."""
    if segment[0] not in "\"'":
        return segment
    return _joined((piece or "*" for piece in _pieces(segment, position)), position)


def _index_error(path: str, match: re.Match[str], position: int) -> FilterError:
    array, rest = path[: match.start() - 1], path[match.end() :]
    name = shown(match[0])[1:-1]
    return FilterError(
        f"{name} would be the index of an array element, which a filter cannot name (AIP-160): "
        f'{shown(f"{array}{rest}")[1:-1]}:"..." asks whether any element matches; quote the key of an object, '
        f'as in {shown(array)[1:-1]}."{name}"',
        position + match.start(),
    )


def word_of(word: str, operator: Operator, position: int) -> Literal:
    if word == "*" and operator is Operator.HAS:
        return Literal(LiteralKind.ANY, word, position=position)
    if "*" in word:
        raise FilterError(
            "a value with a star must be in quotes; write field:* to ask whether a field is present", position
        )
    kind = {"true": LiteralKind.BOOLEAN, "false": LiteralKind.BOOLEAN, "null": LiteralKind.NULL}.get(word)
    return Literal(
        kind or (LiteralKind.NUMBER if looks_like_number(word) else LiteralKind.TEXT), word, position=position
    )


def string_of(string: Token, operator: Operator) -> Literal:
    """Return the literal of a quoted text, which is split at each unescaped star."""
    position = start_of(string)
    pieces = _pieces(string, position)
    stars = [index for index, piece in enumerate(pieces) if piece is None]
    if stars and operator not in (Operator.EQ, Operator.NE, Operator.HAS):
        raise FilterError(r"a star is allowed after =, != and : only; write \* for the character itself", position)
    if len(stars) > MAX_STARS:
        raise FilterError(f"at most {MAX_STARS} stars in one text", position)
    bounds = [-1, *stars, len(pieces)]
    parts = [
        _joined((piece or "" for piece in pieces[start + 1 : end]), position)
        for start, end in itertools.pairwise(bounds)
    ]
    return Literal(LiteralKind.TEXT, "*".join(parts), tuple(parts) if stars else (), position)


def _pieces(quoted: str, position: int) -> list[str | None]:
    """Return the unescaped pieces of a quoted text; None represents an unescaped star."""
    pieces: list[str | None] = []
    for match in _PIECE.finditer(quoted, 1, len(quoted) - 1):
        code, escaped, star = match.groups()
        if escaped and escaped not in _ESCAPES:
            raise FilterError(
                rf"\{escaped} is not an escape sequence; write \\ for a backslash", position + match.start()
            )
        piece = chr(int(code, 16)) if code else _ESCAPES[escaped] if escaped else match[0]
        pieces.append(None if star else piece)
    return pieces


def _joined(pieces: Iterable[str], position: int) -> str:
    try:  # joins escaped surrogate pairs, for characters beyond U+FFFF
        text = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise FilterError("a lone surrogate is not valid text", position) from None
    if "\0" in text:
        raise FilterError("U+0000 cannot be stored, so nothing can match it", position)
    return text


def start_of(token: Token) -> int:
    return token.start_pos or 0


def shown(text: str) -> str:
    """Return a text quoted for an error message, shortened to 40 characters."""
    return repr(str(text) if len(text) <= 40 else f"{text[:40]}...")

"""The text of filters (AIP-160) and orders (AIP-132), parsed.

Parsing keeps no state between calls and may run on any thread. It does not recurse over the text: the parser is
LALR, and nesting is counted before it starts.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from ..domain.literals import looks_like_number
from ..domain.query import (
    And,
    Field,
    Filter,
    FilterError,
    Literal,
    LiteralKind,
    Not,
    Operator,
    Or,
    Restriction,
    SortKey,
)

MAX_BYTES = 4096  # of UTF-8
MAX_TERMS = 100
MAX_NESTING = 32
MAX_SORT_KEYS = 8

_KEYWORDS = ("AND", "OR", "NOT")
_EXPECTED = {  # the grammar's terminals in plain words, in the order in which they are told
    "PATH": "a field",
    "OPERATOR": "an operator (= != < <= > >= :)",
    "WORD": "a value",
    "STRING": "a value",
    "_AND": "AND",
    "_OR": "OR",
    "_ASC": "asc",
    "DESC": "desc",
    "_COMMA": "a comma",
    "_LPAR": "an opening parenthesis",
    "_RPAR": "a closing parenthesis",
    "$END": "the end",
}
# A quote that is never closed takes all the rest in one go: the scan stays linear.
_NESTING = re.compile(r""""(?:[^"\\]|\\[\s\S])*"?|'(?:[^'\\]|\\[\s\S])*'?|[()]|[^\s()"',:=<>!]+""")
_SEGMENT = re.compile(r""""(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|[^."']+""")
_PIECE = re.compile(r"\\u([0-9a-fA-F]{4})|\\([\s\S])|(\*)|[^\\*]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", **{same: same for same in "\"'\\/*"}}


@lru_cache(maxsize=1024)
def parse_filter(text: str) -> Filter[Restriction] | None:
    """The filter that the text tells; None for a blank one, which everything matches. Raises FilterError."""
    if not text.strip():
        return None
    _check(text)
    tree: Filter[Restriction] = _parse(text, "filter")
    restrictions = sorted(_restrictions(tree), key=lambda restriction: restriction.field.position)
    if len(restrictions) > MAX_TERMS:
        raise FilterError(f"at most {MAX_TERMS} comparisons", restrictions[MAX_TERMS].field.position)
    return tree


@lru_cache(maxsize=1024)
def parse_order_by(text: str) -> tuple[SortKey, ...]:
    """The keys of an order, the most significant first; none for a blank text. Raises FilterError."""
    if not text.strip():
        return ()
    _check(text)
    keys: tuple[SortKey, ...] = _parse(text, "order")
    if len(keys) > MAX_SORT_KEYS:
        raise FilterError(f"at most {MAX_SORT_KEYS} keys", keys[MAX_SORT_KEYS].field.position)
    return keys


def _check(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise FilterError("a lone surrogate is no text", error.start) from None
    if size > MAX_BYTES:
        raise FilterError(f"{size} bytes of UTF-8, at most {MAX_BYTES}", 0)
    if (position := text.find("\0")) >= 0:
        raise FilterError("U+0000 cannot be stored, so nothing can match it", position)
    depth = 0
    word = ""
    word_end = -1
    for match in _NESTING.finditer(text):
        if match[0] == "(":
            if word_end == match.start() and word not in ("", *_KEYWORDS):
                raise FilterError(f"there are no functions: {_shown(word)} was called", match.start() - len(word))
            depth += 1
            if depth > MAX_NESTING:
                raise FilterError(f"parentheses are nested more than {MAX_NESTING} deep", match.start())
        elif match[0] == ")":
            depth -= 1
        word = "" if match[0][0] in "()\"'" else match[0].lstrip("-")
        word_end = match.end()


def _parse(text: str, start: str) -> Any:
    try:
        return _grammar().parse(text, start=start)
    except UnexpectedToken as error:
        ended = error.token.type == "$END"
        position = len(text) if ended else _start(error.token)
        found = "the text ends" if ended else f"there is {_shown(error.token)}"
        raise FilterError(f"expected {_expected(error.expected)}, but {found}", position) from None
    except UnexpectedCharacters as error:
        position = error.pos_in_stream or 0
        character = text[position]
        if character in "\"'":
            raise FilterError("the quote is never closed", position) from None
        raise FilterError(f"expected {_expected(error.allowed)}, but there is {_shown(character)}", position) from None


@cache
def _grammar() -> Lark:
    grammar = files(__package__).joinpath("filter.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["filter", "order"], transformer=_Builder(), maybe_placeholders=False)


def _expected(terminals: Iterable[str]) -> str:
    present = set(terminals)
    words = list(dict.fromkeys(word for name, word in _EXPECTED.items() if name in present))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(text: str) -> str:
    return repr(str(text) if len(text) <= 40 else f"{text[:40]}...")


def _restrictions(tree: Filter[Restriction]) -> Iterator[Restriction]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, And | Or):
            waiting.extend(node.terms)
        elif isinstance(node, Not):
            waiting.append(node.term)
        else:
            yield node


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Turns each rule of the grammar into its part of the tree as soon as the parser has it."""

    def filter(self, tree: Filter[Restriction]) -> Filter[Restriction]:
        return tree

    def conjunction(self, *terms: Filter[Restriction]) -> And[Restriction]:
        return And(tuple(inner for term in terms for inner in (term.terms if isinstance(term, And) else (term,))))

    def disjunction(self, *terms: Filter[Restriction]) -> Or[Restriction]:
        return Or(tuple(inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,))))

    def negation(self, term: Filter[Restriction]) -> Not[Restriction]:
        return Not(term)

    def compare_word(self, path: Token, operator: Token, word: Token) -> Restriction:
        return Restriction(_field(path), Operator(operator), _word(str(word), Operator(operator), _start(word)))

    def compare_string(self, path: Token, operator: Token, string: Token) -> Restriction:
        text, starts = _unquoted(string, _start(string), Operator(operator))
        return Restriction(_field(path), Operator(operator), Literal(LiteralKind.TEXT, text, starts, _start(string)))

    def bare(self, path: Token) -> Restriction:
        hint = f'write a comparison, such as {path} = "..."'
        if path[0] not in "\"'":
            hint += "; a name or a value with spaces goes in quotes"
        if path.upper() in _KEYWORDS:
            hint = "AND, OR and NOT are written in capitals"
        raise FilterError(f"{_shown(path)} stands alone: {hint}", _start(path))

    def order(self, *keys: SortKey) -> tuple[SortKey, ...]:
        return keys

    def ascending(self, path: Token) -> SortKey:
        return SortKey(_field(path))

    def descending(self, path: Token, _desc: Token) -> SortKey:
        return SortKey(_field(path), descending=True)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _field(token: Token) -> Field:
    position = _start(token)
    path = tuple(
        _unquoted(match[0], position + match.start())[0] if match[0][0] in "\"'" else match[0]
        for match in _SEGMENT.finditer(token)
    )
    if path[0] not in ("content", "record"):
        return Field(path, position=position)
    if len(path) == 1:
        of = "an attribute, such as record.version" if path[0] == "record" else "a field, such as content.title"
        raise FilterError(f"{path[0]} needs the name of {of}; a field of this name is content.{path[0]}", position)
    return Field(path[1:], of_record=path[0] == "record", position=position)


def _word(word: str, operator: Operator, position: int) -> Literal:
    if word == "*" and operator is Operator.HAS:
        return Literal(LiteralKind.ANY, word, position=position)
    if "*" in word:
        raise FilterError('a value with a star must be in quotes; "field is there" is written field:*', position)
    kind = {"true": LiteralKind.BOOLEAN, "false": LiteralKind.BOOLEAN, "null": LiteralKind.NULL}.get(word)
    return Literal(
        kind or (LiteralKind.NUMBER if looks_like_number(word) else LiteralKind.TEXT), word, position=position
    )


def _unquoted(quoted: str, position: int, operator: Operator | None = None) -> tuple[str, bool]:
    """The text within the quotes, and whether it ended in a star that stands for any rest (not in names)."""
    pieces: list[str] = []
    starts = False
    for match in _PIECE.finditer(quoted, 1, len(quoted) - 1):
        code, escaped, star = match.groups()
        if star and operator is not None:
            if match.end() != len(quoted) - 1 or operator not in (Operator.EQ, Operator.NE):
                raise FilterError(
                    r"a star may only end a text, and only after = or !=; the character itself is written \*",
                    position + match.start(),
                )
            starts = True
        elif escaped and escaped not in _ESCAPES:
            raise FilterError(rf"\{escaped} is no escape; a backslash is written \\", position + match.start())
        else:
            pieces.append(chr(int(code, 16)) if code else _ESCAPES[escaped] if escaped else match[0])
    try:  # joins the two halves of an escaped character beyond U+FFFF
        text = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise FilterError("a lone surrogate is no text", position) from None
    if "\0" in text:
        raise FilterError("U+0000 cannot be stored, so nothing can match it", position)
    return text, starts

"""The parser of filters (AIP-160) and orders (AIP-132).

Parsing keeps no state between calls and may run on any thread. It does not recurse over the text: the parser is
LALR, and nesting is checked before it starts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from .ast import And, Filter, FilterError, Literal, Not, Operator, Or, Restriction, SortKey
from .tokens import field_of, shown, start_of, string_of, word_of

MAX_BYTES = 4096  # of UTF-8
MAX_TERMS = 100
MAX_NESTING = 32
MAX_SORT_KEYS = 8

_KEYWORDS = ("AND", "OR", "NOT")
_BEFORE_PARENTHESES = ("", *_KEYWORDS, "in", "IN")
_EXPECTED = {  # the grammar's terminals in plain words, in the order in which errors list them
    "PATH": "a field",
    "_LOWER": "a field",
    "OPERATOR": "an operator (= != < <= > >= : in)",
    "_IN": "an operator (= != < <= > >= : in)",
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
# An unclosed quote matches the rest of the text at once, so the scan stays linear.
_NESTING = re.compile(r""""(?:[^"\\]|\\[\s\S])*"?|'(?:[^'\\]|\\[\s\S])*'?|[()]|[^\s()"',:=<>!]+""")
_FUNCTIONS = ("lower",)
# What to write for the words and signs of other languages: those of SQL after a field, and those between comparisons.
_SQL_HINTS = {
    "IS": "write field = null for a missing value, and field:* for one that is present",
    "LIKE": 'write field = "*part*", or lower(field) = "*part*" for any case',
    "ILIKE": 'write lower(field) = "*part*"',
    "CONTAINS": 'write field = "*part*" for a part of a text, and field:"value" for an element of an array',
    "BETWEEN": "write field >= 1 AND field <= 2",
}
_SIGN_HINTS = {"&&": "write AND", "&": "write AND", "||": "write OR", "|": "write OR", "!": "write NOT"}
_OPERATORS = tuple("=<>:!")


@lru_cache(maxsize=1024)
def parse_filter(text: str) -> Filter[Restriction] | None:
    """Return the parsed filter; None for a blank text, which matches everything.

    Raises FilterError if the text is not a valid filter or exceeds a limit.
    """
    if not text.strip():
        return None
    _check(text)
    tree: Filter[Restriction] = _parse(text, "filter")
    restrictions = sorted(_restrictions(tree), key=lambda restriction: restriction.field.position)
    if len(restrictions) > MAX_TERMS:
        # The values of an `in` have the position of its field in common.
        raise FilterError(
            f"at most {MAX_TERMS} comparisons; each value of an `in` is one", restrictions[MAX_TERMS].field.position
        )
    return tree


@lru_cache(maxsize=1024)
def parse_order_by(text: str) -> tuple[SortKey, ...]:
    """Return the keys of an order, the most significant first; empty for a blank text.

    Raises FilterError if the text is not a valid order or exceeds a limit.
    """
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
        raise FilterError("a lone surrogate is not valid text", error.start) from None
    if size > MAX_BYTES:
        raise FilterError(f"{size} bytes of UTF-8, at most {MAX_BYTES}", 0)
    if (position := text.find("\0")) >= 0:
        raise FilterError("U+0000 cannot be stored, so nothing can match it", position)
    depth = 0
    word = ""
    word_end = -1
    for match in _NESTING.finditer(text):
        if match[0] == "(":
            if word_end == match.start() and word not in _BEFORE_PARENTHESES:
                _check_function(word, text, match.start() - len(word))
            depth += 1
            if depth > MAX_NESTING:
                raise FilterError(f"parentheses are nested more than {MAX_NESTING} deep", match.start())
        elif match[0] == ")":
            depth -= 1
        if word_end >= 0 and match[0].upper() in (*_SQL_HINTS, "IN"):
            _check_sql(match[0], text, match.start(), match.end())
        word = "" if match[0][0] in "()\"'" else match[0].lstrip("-")
        word_end = match.end()


def _check_function(name: str, text: str, position: int) -> None:
    if name not in _FUNCTIONS:
        raise FilterError(
            f"there is no function {shown(name)}: the only one is lower(field), compared with a text", position
        )
    if text[:position].rstrip().endswith(("=", "<", ">", ":")):
        raise FilterError(
            "a function is allowed on the left side of a comparison only; the right side is a value", position
        )


def _check_sql(word: str, text: str, start: int, end: int) -> None:
    """Raise FilterError for a word of SQL after a field; between operators it is a name or a value."""
    before, after = text[:start].rstrip(), text[end:].lstrip()
    if before.endswith((*_OPERATORS, "(", ",")) or after.startswith((*_OPERATORS, "(")):
        return
    if word.upper() != "IN":
        raise FilterError(f"there is no operator {shown(word)}: {_SQL_HINTS[word.upper()]}", start)
    if after.startswith("["):
        raise FilterError('the values of `in` are in parentheses: write field in ("a", "b")', start)


def _parse(text: str, start: str) -> Any:
    try:
        return _grammar().parse(text, start=start)
    except UnexpectedToken as error:
        ended = error.token.type == "$END"
        position = len(text) if ended else start_of(error.token)
        found = "the text ends" if ended else f"there is {shown(error.token)}"
        _hint(start, text, position, error.expected)
        raise FilterError(f"expected {_expected(error.expected)}, but {found}", position) from None
    except UnexpectedCharacters as error:
        position = error.pos_in_stream or 0
        character = text[position]
        if character in "\"'":
            raise FilterError("the quote is not closed", position) from None
        _hint(start, text, position, error.allowed)
        raise FilterError(f"expected {_expected(error.allowed)}, but there is {shown(character)}", position) from None


def _hint(start: str, text: str, position: int, expected: Iterable[str]) -> None:
    """Raise FilterError for a common mistake that a list of expected tokens would not explain."""
    if text[position : position + 1] == "(" and "STRING" in set(expected):
        problem = "parentheses on the right are not supported: write a in (1, 2) instead of a = (1 OR 2)"
        raise FilterError(problem, position) from None
    sign = text[position : position + 1]
    if start == "filter" and sign == "=" and text[:position].endswith("="):
        raise FilterError("write = to compare, instead of ==", position) from None
    if start == "filter" and sign in _SIGN_HINTS:
        raise FilterError(f"there is no operator {shown(sign)}: {_SIGN_HINTS[sign]}", position) from None
    if start == "order" and text[position : position + 1] == "-":
        raise FilterError("write desc after the field instead of - before it", position) from None
    if start == "order" and re.match(r"(ASC|DESC)\b", text[position:], re.IGNORECASE):
        raise FilterError("write asc or desc once, in small letters", position) from None
    if start == "order" and text[position : position + 1] == "(":
        raise FilterError("an order takes fields only, not functions", position) from None
    if text[:position].endswith("lower("):
        raise FilterError("lower() takes the name of one field, as in lower(title)", position) from None
    if text[position : position + 1] in ("(", ",") and re.search(r"\blower\([^()]*$", text[:position]):
        raise FilterError("lower() takes one field, and no other function", position) from None


@cache
def _grammar() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["filter", "order"], transformer=_Builder(), maybe_placeholders=False)


def _expected(terminals: Iterable[str]) -> str:
    present = set(terminals)
    words = list(dict.fromkeys(word for name, word in _EXPECTED.items() if name in present))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


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


def _one_of(path: Token, values: Sequence[Literal], *, lowered: bool) -> Filter[Restriction]:
    """Return the disjunction that `in` means, without duplicates."""
    field = field_of(path)
    terms = tuple(dict.fromkeys(Restriction(field, Operator.EQ, value, lowered) for value in values))
    return Or(terms) if len(terms) > 1 else terms[0]


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Builds the syntax tree while parsing: each method handles one grammar rule."""

    def filter(self, tree: Filter[Restriction]) -> Filter[Restriction]:
        return tree

    def conjunction(self, *terms: Filter[Restriction]) -> And[Restriction]:
        return And(tuple(inner for term in terms for inner in (term.terms if isinstance(term, And) else (term,))))

    def disjunction(self, *terms: Filter[Restriction]) -> Or[Restriction]:
        return Or(tuple(inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,))))

    def negation(self, term: Filter[Restriction]) -> Not[Restriction]:
        return Not(term)

    def compare_word(self, path: Token, operator: Token, word: Token) -> Restriction:
        return Restriction(field_of(path), Operator(operator), word_of(str(word), Operator(operator), start_of(word)))

    def compare_string(self, path: Token, operator: Token, string: Token) -> Restriction:
        return Restriction(field_of(path), Operator(operator), string_of(string, Operator(operator)))

    def compare_lowered_word(self, path: Token, operator: Token, word: Token) -> Restriction:
        literal = word_of(str(word), Operator(operator), start_of(word))
        return Restriction(field_of(path), Operator(operator), literal, lowered=True)

    def compare_lowered_string(self, path: Token, operator: Token, string: Token) -> Restriction:
        return Restriction(field_of(path), Operator(operator), string_of(string, Operator(operator)), lowered=True)

    def word_value(self, word: Token) -> Literal:
        return word_of(str(word), Operator.EQ, start_of(word))

    def string_value(self, string: Token) -> Literal:
        return string_of(string, Operator.EQ)

    def one_of(self, path: Token, *values: Literal) -> Filter[Restriction]:
        return _one_of(path, values, lowered=False)

    def lowered_one_of(self, path: Token, *values: Literal) -> Filter[Restriction]:
        return _one_of(path, values, lowered=True)

    def bare(self, path: Token) -> Restriction:
        hint = f'write a comparison, such as {path} = "..." or {path} in ("...", "...")'
        if path[0] not in "\"'":
            hint += "; a name or a value with spaces goes in quotes"
        if path.upper() in _KEYWORDS:
            hint = "write AND, OR and NOT in capitals"
        hint = _SIGN_HINTS.get(str(path), hint)
        raise FilterError(f"{shown(path)} is not a comparison: {hint}", start_of(path))

    def order(self, *keys: SortKey) -> tuple[SortKey, ...]:
        return keys

    def ascending(self, path: Token) -> SortKey:
        return SortKey(field_of(path))

    def descending(self, path: Token, _desc: Token) -> SortKey:
        return SortKey(field_of(path), descending=True)

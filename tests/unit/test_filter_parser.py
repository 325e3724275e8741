"""The filter language: what a text means, and what is said of a text that means nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.domain.filters.ast import (
    MERGED_ATTRIBUTES,
    And,
    Field,
    FieldType,
    Filter,
    FilterError,
    Not,
    Operator,
    Or,
    SortKey,
)
from draftline_server.domain.filters.conditions import (
    VALUE,
    AnyValue,
    Comparison,
    Condition,
    HasKey,
    Like,
    Mistyped,
    Present,
    StartsWith,
    ValueCondition,
    to_json,
)
from draftline_server.domain.filters.parser import parse_filter, parse_order_by
from draftline_server.domain.filters.type_resolution import type_of, with_types
from draftline_server.domain.filters.values import Value
from draftline_server.store.filter_templates import parameterize

DECLARED = {
    ("Title",): FieldType.TEXT,
    ("Budget",): FieldType.NUMBER,
    ("Seen",): FieldType.BOOLEAN,
    ("Day",): FieldType.DATE,
    ("Time",): FieldType.TIMESTAMP,
}


def typed(text: str) -> Filter[Condition]:
    tree = parse_filter(text)
    assert tree is not None
    return with_types(tree, DECLARED)


def number(name: str, value: int = 1, operator: Operator = Operator.EQ) -> Comparison:
    return Comparison(Field((name,)), FieldType.NUMBER, operator, Decimal(value))


def text_is(path: tuple[str, ...], value: str) -> Comparison:
    return Comparison(Field(path), FieldType.TEXT, Operator.EQ, value)


def declared(name: str, value: Value, operator: Operator = Operator.EQ) -> Comparison:
    return Comparison(Field((name,)), DECLARED[(name,)], operator, value, indexed=True)


def attribute(name: str, type_: FieldType, value: Value, operator: Operator = Operator.EQ) -> Comparison:
    return Comparison(Field((name,), of_record=True), type_, operator, value)


def any_value(path: tuple[str, ...], condition: ValueCondition) -> AnyValue:
    return AnyValue(Field(path), condition, opened=True)


def number_value(value: str) -> Comparison:
    return Comparison(VALUE, FieldType.NUMBER, Operator.EQ, Decimal(value))


A, B, C, D = (number(name) for name in "abcd")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 1", A),
        ("a=1 AND b=1 OR c=1 AND d=1", And((A, Or((B, C)), D))),
        ("a=1 b=1 OR c=1", And((A, Or((B, C))))),
        ("a=1 b=1 AND c=1 d=1", And((A, B, C, D))),
        ("(a=1 AND b=1) OR c=1", Or((And((A, B)), C))),
        ("NOT a=1 OR b=1", Or((Not(A), B))),
        ("-a=1 -(b=1 OR c=1)", And((Not(A), Not(Or((B, C)))))),
        ("NOT(a=1)", Not(A)),
        ("a=1 (b=1)", And((A, B))),
        ("\t a\n=\r1 ", A),
        ("a != 1", Not(A)),
        ("a>=-1", number("a", -1, Operator.GE)),
        ("ORa = 1 ANDb = 1", And((number("ORa"), number("ANDb")))),
        ('"AND" = 1', number("AND")),
        ('a.AND."0" = x', text_is(("a", "AND", "0"), "x")),
        ("0 = x", text_is(("0",), "x")),
        ("content.0 = x", text_is(("0",), "x")),
        ("a-b = x", text_is(("a-b",), "x")),
        ("'x.y'.\"it's\" = x", text_is(("x.y", "it's"), "x")),
        (r'"\"\\\u00e9\ud83d\ude00*" = x', text_is(('"\\é😀*',), "x")),
        ('"" = ""', text_is(("",), "")),
        ("名前 = 値", text_is(("名前",), "値")),
        ("content.record.x = y", text_is(("record", "x"), "y")),
        ("content.content = y", text_is(("content",), "y")),
    ],
)
def test_filter_text_means_tree(text: str, tree: Filter[Condition]) -> None:
    assert typed(text) == tree


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("x = 1776", Comparison(Field(("x",)), FieldType.NUMBER, Operator.EQ, Decimal(1776))),
        ("x = 007", text_is(("x",), "007")),
        ('x = "1776"', text_is(("x",), "1776")),
        ("x = true", Comparison(Field(("x",)), FieldType.BOOLEAN, Operator.EQ, True)),
        ("x = 2026-11-20T10:00:00Z", text_is(("x",), "2026-11-20T10:00:00Z")),
        ("x = urn:isbn:1", text_is(("x",), "urn:isbn:1")),
        ("x = null", Not(Present(Field(("x",))))),
        ("x != null", Present(Field(("x",)))),
        ('x = "null"', text_is(("x",), "null")),
        ("x:*", Present(Field(("x",)))),
        ("x:1.0", Or((any_value(("x",), number_value("1.0")), HasKey(Field(("x",)), "1.0")))),
        ("x:y:z", Or((any_value(("x",), text_is((), "y:z")), HasKey(Field(("x",)), "y:z")))),
        (
            "x.y:z",
            Or(
                (
                    any_value(("x", "y"), text_is((), "z")),
                    AnyValue(Field(("x", "y")), HasKey(VALUE, "z"), opened=False),
                )
            ),
        ),
        ("x.y:*", AnyValue(Field(("x", "y")), Present(VALUE), opened=False)),
        ('x:"y*"', any_value(("x",), StartsWith(VALUE, "y"))),
        ('lower(x):"*Y"', any_value(("x",), Like(VALUE, ("", "Y"), lowered=True))),
        ('x = "*Star*"', Like(Field(("x",)), ("", "Star", ""))),
        ('x != "S*r"', Not(Like(Field(("x",)), ("S", "r")))),
        (r'x = "*\**"', Like(Field(("x",)), ("", "*", ""))),
        ("lower(x) = Y", Comparison(Field(("x",)), FieldType.TEXT, Operator.EQ, "Y", lowered=True)),
        ("lower(Title) < 5", Comparison(Field(("Title",)), FieldType.TEXT, Operator.LT, "5", lowered=True)),
        ("record.mistyped = false", Not(Mistyped(Field(("mistyped",), of_record=True), tuple(DECLARED.items())))),
        ('x = "Star*"', StartsWith(Field(("x",)), "Star")),
        ('x = "*"', StartsWith(Field(("x",)), "")),
        ('x != "Star*"', Not(StartsWith(Field(("x",)), "Star"))),
        (r'x = "Star\*"', text_is(("x",), "Star*")),
        (r'x = "a\nb\u0041"', text_is(("x",), "a\nbA")),
        ('Title = "S*"', StartsWith(Field(("Title",)), "S", indexed=True)),
        ("Title = 1776", declared("Title", "1776")),
        ("Title:true", any_value(("Title",), text_is((), "true"))),
        ('Budget < "1e3"', declared("Budget", Decimal(1000), Operator.LT)),
        ("Seen = false", declared("Seen", False)),
        ("Day = 2024-02-29", declared("Day", date(2024, 2, 29))),
        ('Day > "Jun 12 1998"', declared("Day", date(1998, 6, 12), Operator.GT)),
        ("Time < 2026-11-20t10:00:00.5z", declared("Time", datetime(2026, 11, 20, 10, 0, 0, 500000, UTC), Operator.LT)),
        ("Time = 2026-11-20T10:00:00.1234567+02:00", declared("Time", datetime(2026, 11, 20, 8, 0, 0, 123456, UTC))),
        ("Time = 2026-11-20", declared("Time", datetime(2026, 11, 20, tzinfo=UTC))),
        ("record.version < 7", attribute("version", FieldType.NUMBER, Decimal(7), Operator.LT)),
        ("record.parent_id = 7", attribute("parent_id", FieldType.TEXT, "7")),
        ("record.delete_time = null", Not(Present(Field(("delete_time",), of_record=True)))),
    ],
)
def test_literal_is_read_by_its_field(text: str, condition: Filter[Condition]) -> None:
    assert typed(text) == condition


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_blank_filter_matches_everything(text: str) -> None:
    assert parse_filter(text) is None
    assert parse_order_by(text) == ()


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a =", 3, "expected a value, but the text ends"),
        ("a = 1 OR", 8, "expected a field"),
        ("(a = 1", 6, "closing parenthesis"),
        ("a = 1)", 5, "the end"),
        ("a == 1", 3, "write = to compare"),
        ("a = 1 && b = 2", 6, "write AND"),
        ("a = 1 || b = 2", 6, "write OR"),
        ("!(a = 1)", 0, "write NOT"),
        ("a IS NULL", 2, "write field = null"),
        ("a is not null", 2, "write field = null"),
        ("a LIKE 'x%'", 2, 'write field = "*part*"'),
        ("b = 1 AND a ilike 'x%'", 12, 'write lower(field) = "*part*"'),
        ("a between 1 and 2", 2, "write field >= 1 AND field <= 2"),
        ("a in [1, 2]", 2, "the values of `in` are in parentheses"),
        ("AND a = 1", 0, "there is 'AND'"),
        ("NOT NOT a = 1", 4, "there is 'NOT'"),
        ("a..b = 1", 1, "expected"),
        ("a = (b OR c)", 4, "parentheses on the right"),
        ("a:(b)", 2, "parentheses on the right"),
        ('a = "x', 4, "not closed"),
        ("😀 = 1 AND Drama", 10, "'Drama' is not a comparison"),
        ('Major Genre = "Drama"', 0, "a name or a value with spaces goes in quotes"),
        ("a = 1 and b = 2", 6, "capitals"),
        ("a = now()", 4, "no function 'now'"),
        ("upper(a) = x", 0, "no function 'upper': the only one is lower(field)"),
        ("NOT lOwer(a) = x", 4, "no function 'lOwer'"),
        ('a = lower("x")', 4, "on the left side"),
        ("lower() = x", 6, "the name of one field"),
        ("lower(a, b) = x", 7, "lower() takes one field"),
        ("lower(lower(a)) = x", 11, "lower() takes one field"),
        ("lower(a)", 8, "expected an operator"),
        ("lower(a) = null", 11, "compared with a text"),
        ("lower(a):*", 9, "compared with a text"),
        ("lower(Budget) = 1", 6, "this field is a NUMBER"),
        ("lower(record.version) = 1", 6, "this field is a NUMBER"),
        ("items.0.sku:y", 6, 'items.sku:"..." asks whether any element matches'),
        ("items.-1.sku:y", 6, 'as in items."-1"'),
        ("content.items.0 = 1", 14, "AIP-160"),
        ("record.mistyped = 1", 18, "true and false"),
        ("record.mistyped < true", 18, "true and false"),
        ("lower(record.mistyped) = true", 25, "true and false"),
        ("a = *", 4, "field:*"),
        ("a = St*", 4, "in quotes"),
        ('a < "x*"', 4, "allowed after =, != and : only"),
        ('a = "*********"', 4, "at most 8 stars"),
        (r'a = "x\q"', 6, "not an escape sequence"),
        ('a = "\0"', 5, "U+0000"),
        (r'a = "\u0000"', 4, "U+0000"),
        ('a = "\ud800"', 5, "surrogate"),
        (r'a = "\ud800"', 4, "surrogate"),
        ("record = 1", 0, "record.version"),
        ("content:x", 0, "content.content"),
        ("a=1 record.state = DRAFT", 4, "record.update_time"),
        ("a < null", 4, "null can only"),
        ("a < true", 4, "true and false can only"),
        ("Seen > false", 7, "true and false can only"),
        ("Seen = 1", 7, "expected true or false"),
        ("Budget = abc", 9, "expected a number"),
        ('Budget = "1*"', 9, "a star matches texts"),
        ("Day = 2026-02-30", 6, "expected a date"),
        ("Day = 2026-02-03T00:00:00Z", 6, "expected a date"),
        ("Time = 2026-11-20T10:00:00", 7, "offset"),
        ("Time = 0001-01-01T00:00:00+01:00", 7, "offset"),
        ("a = 1e1000", 4, "1,000 digits"),
        ("a = 1e99999999999999999999", 4, "1,000 digits"),
        (f"a = {'9' * 1001}", 4, "1,000 digits"),
        ("(" * 33 + "a=1" + ")" * 33, 32, "nested"),
        (" ".join(["a=1"] * 101), 400, "at most 100"),
        (f'a = "{"é" * 2048}"', 0, "at most 4096"),
        (f"a.{'b.' * 9}", 19, "expected"),
    ],
)
def test_wrong_filter_is_refused_with_its_position(text: str, position: int, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        typed(text)
    assert says in caught.value.message
    assert caught.value.position == position


def test_limits_are_what_they_say() -> None:
    assert typed("(" * 32 + "a=1" + ")" * 32) == A
    assert typed(" ".join(["a=1"] * 100)) == And((A,) * 100)
    assert typed(f"a = {'9' * 1000}.{'9' * 1000}") is not None
    nested = "a=1"
    for _ in range(32):
        nested = f"-(a=1 AND b=1 OR {nested})"
    assert isinstance(typed(nested), Not)
    with pytest.raises(FilterError, match="nested"):
        typed(f"({nested})")


@pytest.mark.parametrize(
    "unit", ["(", "-", "NOT ", '"', "'", '"\\', "a.", "a", "a=1 ", "-(", "*", "=", "a:(", "\\", "😀"]
)
def test_hostile_filter_is_refused_soon(unit: str) -> None:
    text = (unit * 4096)[: 4096 // len(unit.encode()) * len(unit)]
    started = time.thread_time()  # CPU time: a busy machine does not fail it
    with pytest.raises(FilterError):
        typed(text)
    assert time.thread_time() - started < 1


def test_draft_attributes_are_known_where_they_exist() -> None:
    tree = parse_filter("record.state = DRAFT")
    assert tree is not None
    assert with_types(tree, {}, MERGED_ATTRIBUTES) == attribute("state", FieldType.TEXT, "DRAFT")


def test_threads_parse_alike() -> None:
    texts = [f"a = {n} OR (b:x AND NOT c.d != 'y*')" for n in range(50)] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(parse_filter.__wrapped__, texts)) == [parse_filter(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a", (SortKey(Field(("a",))),)),
        (
            ' "Major Genre" desc,config."0" asc , record.version',
            (
                SortKey(Field(("Major Genre",)), descending=True),
                SortKey(Field(("config", "0"))),
                SortKey(Field(("version",), of_record=True)),
            ),
        ),
        ("desc desc, asc", (SortKey(Field(("desc",)), descending=True), SortKey(Field(("asc",))))),
    ],
)
def test_order_text_means_keys(text: str, keys: tuple[SortKey, ...]) -> None:
    assert parse_order_by(text) == keys


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a,", 2),
        ("a b", 2),
        ("a DESC", 2),
        ("1 + 2", 2),
        ("a = 1", 2),
        ("f(x)", 0),
        ("lower(x)", 5),
        ("a.0", 2),
        ("a,b,c,d,e,f,g,h,i", 16),
        (",", 0),
    ],
)
def test_wrong_order_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(FilterError) as caught:
        parse_order_by(text)
    assert caught.value.position == position


def test_unknown_attribute_in_an_order_is_refused() -> None:
    (key,) = parse_order_by("record.size")
    with pytest.raises(FilterError, match="no attribute 'size'"):
        type_of(key.field, {})


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (
            r'"a\"\\b".c < 1.50',
            {"op": "<", "in": "content", "path": '{"a\\"\\\\b","c"}', "type": "NUMBER", "value": "1.50"},
        ),
        ('x = "y*"', {"op": "prefix", "in": "content", "path": '{"x"}', "value": "y"}),
        (
            r'"a\"b".c:true',
            {
                "op": "or",
                "terms": [
                    {
                        "op": "any",
                        "in": "content",
                        "through": r'$."a\"b"."c"[*]',
                        "term": {"op": "=", "in": "content", "path": "{}", "type": "BOOLEAN", "value": "true"},
                    },
                    {
                        "op": "any",
                        "in": "content",
                        "through": r'$."a\"b"."c"',
                        "term": {"op": "has_key", "in": "content", "path": "{}", "key": "true"},
                    },
                ],
            },
        ),
        (
            r'lower(x) = "*50%_\\"',
            {"op": "like", "in": "content", "path": '{"x"}', "lower": True, "value": r"%50\%\_\\"},
        ),
        (
            "record.delete_time = null",
            {"op": "not", "term": {"op": "present", "in": "record", "path": '{"delete_time"}'}},
        ),
        (
            "Time = 2026-11-20",
            {"op": "=", "in": "content", "path": '{"Time"}', "type": "TIMESTAMP", "value": "2026-11-20T00:00:00+00:00"},
        ),
        ("x:* y:*", {"op": "and", "terms": [to_json(Present(Field((name,)))) for name in "xy"]}),
    ],
)
def test_json_form_is_exact(text: str, form: dict[str, Any]) -> None:
    assert to_json(typed(text)) == form


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('a in (1, "x*", null)', 'a = 1 OR a = "x*" OR a = null'),
        ("a IN(1)", "a = 1"),
        ("a in (1, 1, 2, 1)", "a = 1 OR a = 2"),
        ("NOT a in (1, 2) b = 3", "NOT (a = 1 OR a = 2) AND b = 3"),
        ("-a.in in (x)", "NOT a.in = x"),
        ('lower(a) in ("X", y)', 'lower(a) = "X" OR lower(a) = y'),
        ('Title in ("a", b) OR c = 1', 'Title = "a" OR Title = b OR c = 1'),
        ("in in (in)", "in = in"),
        ("record.version in (1, 2)", "record.version = 1 OR record.version = 2"),
    ],
)
def test_in_means_equality_with_one_of_the_values(text: str, meaning: str) -> None:
    assert typed(text) == typed(meaning)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a in ()", 6, "expected a value"),
        ("a in (1,)", 8, "expected a value"),
        ("a in (1 2)", 8, "expected a comma or a closing parenthesis"),
        ("a in (1", 7, "the text ends"),
        ("a in (b = 1)", 8, "expected a comma"),
        ("a in (*)", 6, "must be in quotes"),
        ("a = (1 OR 2)", 4, r"write a in \(1, 2\)"),
        ("Day in (2026-11-20, tomorrow)", 20, "expected a date"),
        (f"a in ({', '.join(map(str, range(101)))})", 0, "at most 100 comparisons"),
    ],
)
def test_invalid_in_is_rejected_with_its_position(text: str, position: int, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        typed(text)
    assert caught.value.position == position


def test_lists_of_similar_length_share_a_template() -> None:
    templates = [parameterize(typed(f"Budget in ({', '.join(map(str, range(size)))})"))[0] for size in range(2, 101)]
    assert len({str(each) for each in templates}) == 7

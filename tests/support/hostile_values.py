"""Texts and numbers that a hostile caller may send."""

from __future__ import annotations

import json

MIB = 1024 * 1024

TEXTS: dict[str, list[str]] = {
    "SQL": [
        "'; DROP TABLE draftline.record; --", "' OR '1'='1", "1) OR (1=1", "\"; DELETE FROM draftline.draft; --",
        "$1", "$$",
        "%(tenant_id)s", ":tenant_id", "'||pg_sleep(10)||'", "\\'; SELECT 1; --", "E'\\x27'", "/*", "--",
        "x' COLLATE \"C\"",
        "{1,2,NULL}", "NULL", "%", "_", "'::jsonb", "CAST('1' AS int)",
    ],
    "format": [
        "%s%s%s%n", "%x%p%d", "{}", "{0}", "{self.__class__}", "{0.__globals__}", "${jndi:ldap://example.org/a}",
        "{{7*7}}", "#{7*7}", "<script>alert(1)</script>", "`id`", "$(id)", "| cat /etc/passwd", "../../../etc/passwd",
        "file:///etc/passwd", "\\\\host\\share", "\r\nSet-Cookie: a=b", "a\nb",
    ],
    "odd text": [
        "", " ", "\0", "a\0b", "\x01", "\x7f", "\x85", "\ufeff", "\u202e", "\u2028", "\ufffe", "\U0010ffff", "é" * 64,
        "e\u0301" * 40, "ﷺ" * 128, "🎬" * 128, "🎬" * 129, "a" * 128, "a" * 129, "Ω≈ç√", "ı", "ß", "-1", "NaN",
        "Infinity",
        "1e400", "0x10", "true", "null", "[]", '"', "\\", "/", "~", "/~", "/~2", "//", "/-", "/0", "/-1",
        "/99999999999999999999", ".", "*", "a" * 1001, "/" * 2048, "/a" * 33, "/" + "9" * 400,
    ],
    "request id": [
        "0", "x" * 36, "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "{0195f0a0-0000-7000-8000-000000000001}", "urn:uuid:0195f0a0-0000-7000-8000-000000000001",
        "0195f0a0000070008000000000000001", "0195f0a0-0000-7000-8000-00000000000g",
        "0195f0a0-0000-7000-8000-0000000000011",
        " 0195f0a0-0000-7000-8000-000000000001", "０195f0a0-0000-7000-8000-000000000001",
    ],
}  # fmt: skip

# What a string of protobuf may not hold, and Python's protobuf would not write.
NO_UTF8 = [
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80\xed\xa0\xbd",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"a\x80",
    b"\xf0\x9f\x8e",
]

FILTERS = [
    "=", "a", "a =", "= 1", "a == 1", "a = 1 AND", "(a = 1", "a = 1)", "NOT", "a:", "a:*", "-a:*", "a = *", 'a = "*"',
    'a = "x*y"', "a.b.c.d = 1", ".".join("a" * 1000) + " = 1", "a = 1e400000", "a < " + "9" * 4000, "a = -" + "9" * 300,
    "a = 1e-400000", "a = " + "(" * 32 + ")" * 32, "(" * 33 + "a = 1" + ")" * 33, "(" * 2000 + "a = 1" + ")" * 2000,
    " AND ".join(["a = 1"] * 100), " AND ".join(["a = 1"] * 101), " OR ".join(["a = 1"] * 100),
    " AND ".join(f"(a{n} = 1 OR b{n} = 2)" for n in range(50)), " OR ".join(f"a{n}:x" for n in range(300)),
    "NOT " * 500 + "a = 1", "-" * 1000 + "a = 1", "NOT (" * 32 + "a = 1" + ")" * 32, '"' * 4096, "'" * 4095, '"a',
    "a = 'b",
    'a = "\\u0000"', 'a = "\\ud800"', 'a = "\\x"', "record = 1", "record.nothing = 1", "record.version = a",
    "record.version = 1e400000", "record.version = 99999999999999999999", "record.create_time > never",
    "record.create_time > 9999999-01-01T00:00:00Z", "record.create_time > 2026-13-45T99:99:99Z",
    "record.state = NOTHING",
    "record.position = NaN", "f(a)", "a IN (1, 2)", "a = 1; DROP TABLE draftline.record", "a\0 = 1", "\0", "a = \0",
    "content = 1",
    '"" = ""', '"".""."" = ""', "a " * 2000, "a = 1 " * 600, "a=1" * 1300, "🎬 = 1", "a = 🎬", "a ~ 1",
    "a != null AND a = null",
    'a = "' + "x" * 4000 + '*"', "a < true", "a >= null", "a < {}", "a = [1]", "user_id = a", "version = x", "kind = 9",
    "create_time > 1", "commit_id = x", "source = 1 OR kind = 2", "a , b", "a desc desc", "a asc, a desc", ",", "a,,b",
    ", ".join("abcdefghi"), "record.version desc, record.version", "a " + "desc " * 700, "create_time desc",
    "version, a",
]  # fmt: skip

TOKENS = [
    "x", "=", "====", "AAAA", "A" * 22, "A" * 23, "A" * 65_535, "A" * 65_537, "A" * 4096, "....",
    "eyJhbGciOiJub25lIn0.e30.",
    "MTIzNDU2Nzg5MDEyMzQ1Ng", "-_-_", "+/+/", "A\n", " AAAA", "AAAA ", "%41%41", "é", "🎬", "\0", "0", "-1", "null",
    "[]",
    "W10", "eyJhIjoxfQ", "9" * 400,
]  # fmt: skip

NUMBERS = [
    0, 1, -1, 2, 3, 32, 33, 99, 127, 128, 1000, 1001, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, -(2**63),
    2**64 - 1,
]  # fmt: skip


def deep(levels: int, opening: str = "[", closing: str = "]") -> str:
    return '{"a": ' + opening * levels + "1" + closing * levels + "}"


JSONS = [
    "", " ", "{", "}", "{}", "[]", "null", "1", "true", '"a"', "{} {}", "{a: 1}", "{'a': 1}", '{"a": 1,}', '{"a" 1}',
    "\ufeff{}",
    '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e400000}', '{"a": -1e400000}', '{"a": 1e-400000}',
    '{"a": 1E+999999999999999999999}', '{"a": 1e308}', '{"a": 1e309}', '{"a": 5e-324}', '{"a": 0e999999999}',
    '{"a": -0}',
    '{"a": 01}', '{"a": +1}', '{"a": .5}', '{"a": 1.}', '{"a": 0x10}', '{"a": 1_000}', '{"a": ' + "9" * 1001 + "}",
    '{"a": ' + "9" * 200_000 + "}", '{"a": 0.' + "9" * 200_000 + "}", '{"a": -' + "1" * 200_000 + "e5}",
    '{"a": 1e' + "9" * 200_000 + "}",
    '{"a": ' + "0" * 200_000 + "}", '{"a": [' + ",".join(["9" * 999] * 1000) + "]}", '{"a": 9007199254740993}',
    '{"a": 18446744073709551616}',
    '{"a": "\\ud800"}', '{"a": "\\udc00\\ud800"}', '{"\\ud83d": 1}', '{"a": "\\u0000"}', '{"\\u0000": 1}',
    '{"a": "\\x"}', '{"a": "\0"}',
    '{"a": "\x01"}', '{"a": "\\u12"}', '{"a": "' + "\\u0000" * 100_000 + '"}', '{"a": 1, "a": 2}',
    '{"a": {"b": 1}, "a": {"c": 2}}',
    "{" + ",".join(['"a": 1'] * 100_000) + "}", "{" + ",".join(f'"{n}": 1' for n in range(100_000)) + "}",
    '{"a": {' + ",".join(f'"{n}": {{}}' for n in range(9_000)) + "}}", '{"a": [' + ",".join(["0"] * 400_000) + "]}",
    deep(31), deep(32), deep(33), deep(1000), deep(100_000), deep(33, '{"a":', "}"), deep(100_000, '{"a":', "}"),
    "[" * 500_000,
    '{"a":' * 100_000, '{"a": "' + "x" * (MIB - 9) + '"}', '{"a": "' + "x" * MIB + '"}',
    '{"a": "' + "🎬" * (MIB // 4) + '"}',
    '{"' + "k" * MIB + '": 1}', '{"a": "' + "\\\\" * 400_000 + '"}', '{"a": "' + "\\n" * 500_000 + '"}',
    '{"": {"": {"": ""}}}',
    '{"__proto__": {"a": 1}, "constructor": 1}', '{"a": "2026-02-30"}', '{"a": {"v": 1}, "s": {"m": {}}, "r": ["s"]}',
    '{"$ref": "#"}',
]  # fmt: skip

SCHEMAS = [
    "{", "1", "[]", "true", "false", '{"type": 7}', '{"type": "nothing"}', '{"$ref": "http://example.org/x"}',
    '{"$ref": "file:///etc/passwd"}',
    '{"$ref": "#/nowhere"}', '{"$ref": "#"}', '{"$schema": "http://example.org/none"}', '{"$schema": 1}',
    '{"$id": "::"}', '{"pattern": "("}',
    '{"pattern": "(?=a)(a+)+$"}', '{"pattern": "' + "(a|" * 1000 + '"}', '{"pattern": "((a{1,500}){1,500}){1,500}"}',
    '{"minimum": 1e400000}',
    '{"enum": [' + ",".join(map(str, range(20_000))) + "]}", '{"multipleOf": 0}',
    '{"required": ["' + "a" * 200_000 + '"]}',
    '{"allOf": ' + "[" * 50_000 + "]" * 50_000 + "}", '{"allOf": [' + '{"allOf": [' * 100 + "]}" * 100 + "]}",
    '{"properties": {' + ",".join(f'"{n}": {{"pattern": "a{n}"}}' for n in range(3_000)) + "}}",
    json.dumps({"$ref": "#/$defs/64", "$defs": {"0": {}, **{
        f"{n + 1}": {"allOf": [{"$ref": f"#/$defs/{n}"}] * 2} for n in range(64)
    }}}),
    '{"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}', '{"$dynamicRef": "#"}',
]  # fmt: skip

"""Rules that the project's SQL files follow."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from draftline_server.ops.resources import shipped
from draftline_server.store.statements import load
from draftline_server.store.tables import SEQUENCES, TYPES

STATEMENTS = Path(str(files("draftline_server.store"))) / "sql"
FUNCTIONS = shipped("migrations") / "functions"


@pytest.mark.parametrize(("table", "file"), [("change", "write_tail.sql"), ("request", "requests.sql")])
def test_log_entries_and_responses_are_inserted_in_one_file(table: str, file: str) -> None:
    pattern = re.compile(rf"\bINSERT INTO draftline\.{table}\b")
    assert {path.name for path in STATEMENTS.glob("*.sql") if pattern.search(path.read_text())} == {file}


def test_every_statement_that_writes_records_includes_the_write_tail() -> None:
    writes = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM) draftline\.record\b")
    # These run in a transaction with log_content, or with log_created and log_changed.
    apart = {"replace_content", "insert_content", "upsert_imported", "upsert_imported_again"}
    apart |= {"prepare", "settle", "reset_acknowledged"}  # these write only what an upstream has acknowledged
    names = {
        statement.name
        for path in STATEMENTS.glob("*.sql")
        for statement in load(path.stem).values()
        if writes.search(statement.sql) and "INSERT INTO draftline.change" not in statement.sql
    }
    assert names == apart


def test_statement_contains_the_fragments_that_it_includes() -> None:
    statement = load("content")["patch_content"]
    assert "-- include" not in statement.sql
    assert statement.sql.count("INSERT INTO draftline.change ") == 1
    assert statement.sql.count("WITH ORDINALITY AS p (collection, record_id, kind,") == 4


def test_every_function_has_one_current_file() -> None:
    def defined(text: str, verb: str) -> Counter[str]:
        return Counter(re.findall(rf"^{verb} FUNCTION draftline\.(\w+)\(", text, re.MULTILINE))

    current = "\n".join(path.read_text() for path in FUNCTIONS.glob("*.sql"))
    schema = (FUNCTIONS.parent / "schema.sql").read_text()
    assert defined(current, "CREATE OR REPLACE") == defined(schema, "CREATE")


def test_sequences_and_types_that_are_checked_are_all_of_the_schema() -> None:
    schema = (FUNCTIONS.parent / "schema.sql").read_text()
    for kind, names in (("SEQUENCE", SEQUENCES), ("TYPE", TYPES)):
        assert sorted(names) == sorted(re.findall(rf"^CREATE {kind} draftline\.(\w+)", schema, re.MULTILINE))

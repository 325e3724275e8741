"""The watch that logs when the database becomes read-only, and when it takes writes again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from draftline_server.background.write_watch import WriteWatch
from support.log_capture import logged


def test_database_that_becomes_read_only_is_logged_once_and_so_is_its_end() -> None:
    database = SimpleNamespace(read_only_reason="")
    watch = WriteWatch(cast("Any", database))
    with logged() as events:
        for reason in ("", "a standby", "a standby", "", ""):
            database.read_only_reason = reason
            watch.check()
            assert watch.warning == reason
    assert [(each["event"], each.get("reason")) for each in events] == [
        ("database_read_only", "a standby"),
        ("database_writable", None),
    ]

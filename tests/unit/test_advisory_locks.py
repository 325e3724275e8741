"""Every advisory lock has a key of its own, which statements bind."""

from __future__ import annotations

import re
from importlib.resources import files

import draftline_server.store
import pytest
from draftline_server.store.advisory_locks import AdvisoryLock, LockFamily

SOURCES = sorted(
    (source for source in (files(draftline_server.store) / "sql").iterdir() if source.name.endswith(".sql")),
    key=lambda source: source.name,
)


def test_keys_are_distinct() -> None:
    assert len({*AdvisoryLock.__members__.values()}) == len(AdvisoryLock.__members__)
    assert len({*LockFamily.__members__.values()}) == len(LockFamily.__members__)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_statements_bind_the_keys_of_locks(source: object) -> None:
    text = source.read_text()  # type: ignore[attr-defined]
    calls = re.findall(r"pg_(?:try_)?advisory_\w+\((?!\s*CAST\(:\w*lock AS )", text)
    keys = [key for key in (*AdvisoryLock, *LockFamily) if re.search(rf"\b{key:d}\b", text)]
    assert (calls, keys) == ([], [])

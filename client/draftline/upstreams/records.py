"""Records as a system has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Any


@dataclass(frozen=True, kw_only=True)
class RemoteRecord:
    """A record as the system has it.

    Attributes:
        remote_id: Its id in the system.
        remote_version: Its version, such as an ETag. Empty: the system has none.
        record_id: The client reference with which it was created. Empty: none.
        deleted: It is deleted, or was never there. `document` is empty.
        document: All mapped fields, in local names. A field that the system does not have is missing.
    """

    remote_id: str
    remote_version: str = ""
    record_id: str = ""
    deleted: bool = False
    document: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of a read.

    Attributes:
        records: The records of the page.
        cursor: The position after this page; opaque. It is stored with the records, and a later read continues from it.
        changes_cursor: On the last page of a snapshot: the cursor with which `changes` returns everything that changed
            since the snapshot began. None: `changes` must begin at None.
    """

    records: Sequence[RemoteRecord]
    cursor: str | None = None
    changes_cursor: str | None = None

"""Queries for lists of merged records."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from .filters.ast import Filter, Restriction, SortKey
from .values import value_class

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000


class View(StrEnum):
    MERGED = "MERGED"
    BASELINE = "BASELINE"
    DRAFTS_ONLY = "DRAFTS_ONLY"


@value_class
class MergedQuery:
    """The arguments of a list. `filter_text` and `order_text` are the caller's texts, for page tokens."""

    collection: str
    filter: Filter[Restriction] | None = None
    filter_text: str = ""
    order: Sequence[SortKey] = ()
    order_text: str = ""
    record_ids: tuple[str, ...] = ()
    session_id: str = ""
    view: View = View.MERGED
    show_deleted: bool = False

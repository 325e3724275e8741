"""The tables, declared once: request-shaped queries are built from them, and the
migrations are compared with them. All are in the schema `draftline`."""

from __future__ import annotations

from . import partitions, requests, secrets, statistics, sync, tenants  # their tables belong to the metadata
from .collections import collection, collection_order, draft_order_entry, order_entry
from .log import change, change_log
from .metadata import SCHEMA, metadata
from .records import draft, record

SEQUENCES = ("change_id", "order_id", "statistic_id", "sync_event_id", "sync_mark")
TYPES = ("based_edit", "edit_outcome", "sync_merged")  # composite types

__all__ = [
    "SCHEMA",
    "SEQUENCES",
    "TYPES",
    "change",
    "change_log",
    "collection",
    "collection_order",
    "draft",
    "draft_order_entry",
    "metadata",
    "order_entry",
    "partitions",
    "record",
    "requests",
    "secrets",
    "statistics",
    "sync",
    "tenants",
]

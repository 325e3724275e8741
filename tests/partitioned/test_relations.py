"""Related records on partitioned tables."""

from __future__ import annotations

from ..rpc.test_relations import (
    client,
    test_children_are_sorted_limited_and_end_at_the_depth,
    test_related_records_come_once_with_every_read,
)

__all__ = [
    "client",
    "test_children_are_sorted_limited_and_end_at_the_depth",
    "test_related_records_come_once_with_every_read",
]

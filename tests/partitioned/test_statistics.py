"""Statistics on partitioned tables."""

from __future__ import annotations

from ..rpc.test_statistics import (
    client,
    test_answers_are_exact_and_know_the_drafts_of_their_user_only,
    test_groups_are_ordered_filtered_and_limited,
)

__all__ = [
    "client",
    "test_answers_are_exact_and_know_the_drafts_of_their_user_only",
    "test_groups_are_ordered_filtered_and_limited",
]

"""Calls on the drafts of another user, which need the permission draft:admin (auth/permissions.py) and are logged."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import structlog
from draftline.v1 import draft_pb2

from ...domain.records import Actor

OwnedRequest: TypeAlias = draft_pb2.GetMergedRequest | draft_pb2.DiscardRequest


def draft_owner(request: OwnedRequest, actor: Actor) -> Actor:
    """Return the user whose drafts a call is about, as an actor of the same tenant."""
    return replace(actor, user_id=request.draft_user_id) if request.draft_user_id else actor


def audit(request: OwnedRequest, actor: Actor, method: str, drafts: int) -> None:
    """Log a call that has read or discarded drafts of another user, without content."""
    if request.draft_user_id:
        structlog.get_logger().info(
            "drafts_of_user_accessed", method=method, tenant_id=actor.tenant_id, user_id=actor.user_id,
            draft_user_id=request.draft_user_id, collection=request.collection, drafts=drafts,
            validate_only=isinstance(request, draft_pb2.DiscardRequest) and request.validate_only,
        )  # fmt: skip

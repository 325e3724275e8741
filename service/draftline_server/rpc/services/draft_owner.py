"""Calls on the drafts of another user, which need the permission draft:admin (auth/permissions.py) and are logged."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import structlog
from draftline.v1 import draft_pb2

from ...domain.records import Actor
from ...store.draft_users import DraftUser

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


def audit_list(request: draft_pb2.ListDraftUsersRequest, actor: Actor, users: int) -> None:
    """Log a call that has listed the users with drafts."""
    structlog.get_logger().info(
        "draft_users_listed", tenant_id=actor.tenant_id, user_id=actor.user_id, collection=request.collection,
        users=users,
    )  # fmt: skip


def to_draft_user(user: DraftUser) -> draft_pb2.DraftUser:
    """Return the message of a user with drafts."""
    message = draft_pb2.DraftUser(user_id=user.user_id, draft_count=user.drafts, collection_count=user.collections)
    message.oldest_create_time.FromDatetime(user.oldest)
    message.newest_modify_time.FromDatetime(user.newest)
    return message

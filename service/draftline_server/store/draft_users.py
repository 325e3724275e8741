"""Lists of the users that have drafts, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .database import Database
from .page_tokens import PageTokens
from .statements import load

SQL = load("draft_users")


@dataclass(frozen=True, slots=True)
class DraftUser:
    """A user with drafts: when the oldest was first saved, and when one was saved last."""

    user_id: str
    drafts: int
    collections: int
    oldest: datetime
    newest: datetime


class DraftUsers:
    """Lists the users of a tenant that have drafts."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def page(self, tenant_id: str, collection: str, size: int, page_token: str) -> tuple[list[DraftUser], str]:
        """Return a page of users in the order of their ids, and the token of the next page.

        `collection` counts only its drafts; empty: those of all collections.
        """
        query = ("ListDraftUsers", tenant_id, collection)
        after = str(self._page_tokens.open(query, page_token)[0]) if page_token else ""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "collection": collection, "after": after, "limit": size + 1,
        }  # fmt: skip
        rows = await self._database.fetch(SQL["list_draft_users"], values, idempotent=True)
        found = [DraftUser(*(row[name] for name in DraftUser.__slots__)) for row in rows[:size]]
        return found, self._page_tokens.seal(query, [found[-1].user_id]) if len(rows) > size else ""

"""List, revert and replay the change log of one tenant through the stores."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

from draftline_server.domain.change_query import ChangePage, ChangeQuery, with_change_types
from draftline_server.domain.changes import Change, ChangeKind, ChangeRef, RevertResult
from draftline_server.domain.content import equal
from draftline_server.domain.drafts import ConflictKind, ConflictPolicy
from draftline_server.domain.edits import MISSING, Strategy, parse_pointer
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Patch
from draftline_server.store.change_log.changes import ChangeStore
from draftline_server.store.page_tokens import PageTokens
from draftline_server.store.reverts import RevertStore
from draftline_server.store.statements import Statement

from support.tenant_stores import COLLECTION, World, change

PATHS_ONLY = Statement("paths_only", "UPDATE draftline.collection SET history = 'PATHS' WHERE tenant_id = $1", ("t",))


class LoggedWorld(World):
    """A World with the stores of changes and reverts."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.changes = ChangeStore(self.database, PageTokens(b"secret"))
        self.reverts = RevertStore(self.specs, self.commits._limits)

    async def keep_paths_only(self) -> None:
        await self.declare()
        await self.database.fetch(PATHS_ONLY, {"t": self.tenant_id})

    async def page(
        self, filter_text: str = "", page_size: int = 1000, token: str = "", user: str = "sys", **query: Any
    ) -> ChangePage:
        tree = parse_filter(filter_text)
        typed = with_change_types(tree) if tree is not None else None
        listed = ChangeQuery(filter=typed, filter_text=filter_text, **query)
        return await self.changes.page(self.actor(user), listed, page_size, token)

    async def pages(self, page_size: int, **query: Any) -> AsyncIterator[Sequence[Change]]:
        """Yield every page of a list."""
        token = ""
        while True:
            page = await self.page(page_size=page_size, token=token, **query)
            yield page.changes
            token = page.next_page_token
            if not token:
                return

    async def all(self, **query: Any) -> list[Change]:
        return [change async for page in self.pages(1000, **query) for change in page]

    async def history(self, record_id: str) -> list[Change]:
        """Return the changes of a record, oldest first."""
        return await self.all(collection=COLLECTION, record_id=record_id, oldest_first=True)

    async def revert(
        self, target: ChangeRef | str, policy: ConflictPolicy = ConflictPolicy.REJECT, user: str = "sys", **options: Any
    ) -> Sequence[RevertResult]:
        """The results; `commit_ids` has the id of what was written."""
        settings = {"change_reason": "", "allow_partial": False, "with_content": True}
        validate_only = options.pop("validate_only", False)
        results, self.commit_id = await self.write(
            user,
            lambda transaction: self.reverts.revert(
                transaction, self.actor(user), target, policy, **{**settings, **options}
            ),
            validate_only=validate_only,
        )
        return results

    async def revert_version(self, record_id: str, version: int, *rest: Any, **options: Any) -> RevertResult:
        (result,) = await self.revert(ChangeRef(COLLECTION, record_id, version), *rest, **options)
        return result

    async def states(self) -> dict[str, State]:
        """Return the state of every record."""
        return {row["record_id"]: state_of(row) for row in await self.stored("record")}


State = tuple[Any, bool, str | None, int | None]  # content, whether it is deleted, parent_id, position


def state_of(row: dict[str, Any]) -> State:
    return row["content"], row["deleted_at"] is not None, row["parent_id"], row["position"]


def same_state(one: State, other: State) -> bool:
    return equal(one[0], other[0]) and one[1:] == other[1:]


def exact(text: str | None) -> Any:
    return MISSING if text is None else json.loads(text, parse_float=Decimal)


def replayed(state: State | None, change: Change) -> State:
    """Apply a change to a record's state, and check the values it records as the previous ones."""
    content, is_deleted, *attributes = copy.deepcopy(state) if state is not None else (MISSING, False, None, None)
    assert not change.values_omitted
    assert [path.path for path in change.paths] == sorted(path.path for path in change.paths)
    for path in change.paths:
        old, new, tokens = exact(path.old_value), exact(path.new_value), parse_pointer(path.path, "path")
        if not tokens:
            assert (change.kind, old, content) == (ChangeKind.CREATE, MISSING, MISSING)
            content = new
            continue
        place = content
        for token in tokens[:-1]:
            place = place[token]
        found = place.get(tokens[-1], MISSING)
        assert found is old if MISSING in (found, old) else equal(found, old)
        if new is MISSING:
            del place[tokens[-1]]
        else:
            place[tokens[-1]] = new
    for each in change.attributes:
        index = ("parent_id", "position").index(each.name)
        assert attributes[index] == (None if each.old_value is None else json.loads(each.old_value))
        attributes[index] = None if each.new_value is None else json.loads(each.new_value)
    match change.kind:
        case ChangeKind.DELETE:
            assert not is_deleted
            is_deleted = True
        case ChangeKind.UNDELETE:
            assert is_deleted
            is_deleted = False
        case ChangeKind.UPDATE:
            assert not is_deleted
    return content, is_deleted, attributes[0], attributes[1]


async def some_of_everything(world: LoggedWorld) -> None:
    """Each kind and source, several users, sessions, reasons and commits; and drafts that were saved and dropped."""
    await world.load({"1": {"a": 1}, "2": {"a": 1}, "3": {}}, user="eve")
    await world.create("4", {"a": 1}, user="ada")
    await world.patch("1", {"a": 2}, user="ada")
    await world.patch_all([Patch(COLLECTION, "2", position=1), Patch("other", "1", allow_missing=True)], user="bob")
    await world.delete("2", user="bob")
    await world.undelete("2", user="ada")
    for user, session_id, reason in (("ada", "s", ""), ("bob", "", "b"), ("ada", "t", "because")):
        edits = [change("1", {"a": f"{user}{session_id}"}), change("3", {session_id: 1})]
        await world.save_all(user, edits, session_id=session_id, reason=reason)
        await world.commit(user)
    await world.delete("4", user="eve")
    await world.load({"4": {"a": 4}}, user="eve")
    await world.revert_version("4", 3, user="eve", change_reason="Ä\U0010ffff")
    await world.save("ada", change("1", {"a": 5}), session_id="s")
    await world.discard("ada")


async def create_and_patch(world: LoggedWorld, *patches: dict[str, Any]) -> None:
    """Create a record with {"a": 1, "b": 1, "o": {"x": 1}}, then patch it."""
    await world.create("1", {"a": 1, "b": 1, "o": {"x": 1}})
    for patch in patches:
        await world.patch("1", patch, Strategy.MERGE_PATCH)


async def content_of(world: LoggedWorld, record_id: str = "1") -> Any:
    return json.loads((await world.record(record_id)).content)


def conflicts_told(result: RevertResult) -> list[tuple[ConflictKind, str, str | None, str | None, str | None]]:
    return [(each.kind, each.path, each.base, each.mine, each.theirs) for each in result.conflicts]

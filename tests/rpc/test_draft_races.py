"""Force concurrent writes between the statements of a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import content_pb2_grpc, draft_pb2
from draftline_server.store.transaction import Transaction
from support.draft_calls import Drafts, edit
from support.responses import Records
from support.servers import serving

Act = Callable[[], Any]


@pytest.fixture
def before_statement(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Act], None]:
    """Does something, once, just before the server sends a statement of that name."""

    def plan(name: str, act: Act) -> None:
        send: Callable[..., Awaitable[Any]] = Transaction.fetch
        left = [act]

        async def fetch(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
            if statement.name == name and left:
                await asyncio.to_thread(left.pop())
            return await send(self, statement, values)

        monkeypatch.setattr(Transaction, "fetch", fetch)

    return plan


def save(ada: Drafts, record_id: str, session_id: str = "", **edit: Any) -> None:
    request = draft_pb2.SaveDraftRequest(**ada.where, session_id=session_id, move_to_session=True)
    request.edits.add(record_id=record_id, **edit)
    ada.stub.SaveDraft(request, metadata=ada.metadata)


@pytest.mark.parametrize(
    ("statement", "attributes"),
    [("write_plain_drafts", {}), ("write_drafts", {"position": 1})],
    ids=["plain", "placed"],
)
def test_creation_does_not_overwrite_a_record_that_came_meanwhile(
    records: Records,
    ada: Drafts,
    before_statement: Callable[[str, Act], None],
    statement: str,
    attributes: dict[str, int],
) -> None:
    save(ada, "new", create={"json": '{"by": "ada"}'}, **attributes)
    before_statement(statement, lambda: records.create("new", {"by": "bob"}))
    with pytest.raises(grpc.RpcError) as caught:
        ada.stub.Commit(draft_pb2.CommitRequest(**ada.where, all=True), metadata=ada.metadata)
    assert caught.value.code() is grpc.StatusCode.ABORTED  # type: ignore[attr-defined]
    page = ada.stub.GetMerged(draft_pb2.GetMergedRequest(**ada.where, view="VIEW_BASELINE"), metadata=ada.metadata)
    assert [(dict(each.record.content.struct), each.record.version) for each in page.records] == [({"by": "bob"}, 1)]


@pytest.mark.parametrize("act", ["commit", "discard"])
def test_draft_that_left_the_session_stays_a_draft(
    records: Records, ada: Drafts, before_statement: Callable[[str, Act], None], act: str
) -> None:
    records.create("a", {})
    save(ada, "a", "s1", delta={"json": '{"x": 1}'})
    records.patch("a", {"y": 1})  # so that the draft is looked at before it is committed
    before = {"commit": "lock_drafts", "discard": "drop_drafts"}[act]
    before_statement(before, lambda: save(ada, "a", "s2", delta={"json": '{"x": 2}'}))
    selection = {**ada.where, "session_id": "s1"}
    if act == "commit":
        answer = ada.stub.Commit(draft_pb2.CommitRequest(**selection), metadata=ada.metadata).results
    else:
        answer = ada.stub.Discard(draft_pb2.DiscardRequest(**selection), metadata=ada.metadata).records
    assert not answer
    (merged,) = ada.stub.GetMerged(draft_pb2.GetMergedRequest(**ada.where), metadata=ada.metadata).records
    content = {"x": 2, "y": 1}
    assert (merged.session_id, dict(merged.record.content.struct), merged.record.version) == ("s2", content, 2)


def test_save_that_meets_an_unexpected_row_is_repeated_by_the_statement_for_any_case(
    records: Records, ada: Drafts, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.create("a", {})
    send: Callable[..., Awaitable[Any]] = Transaction.fetch
    sent = list[str]()

    async def fetch(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
        sent.append(statement.name)
        if statement.name == "save_drafts":
            raise asyncpg.UniqueViolationError("as for a draft that another call creates")
        return await send(self, statement, values)

    monkeypatch.setattr(Transaction, "fetch", fetch)
    save(ada, "a", delta={"json": '{"x": 1}'})
    assert [name for name in sent if name.startswith("save")] == ["save_drafts", "save_drafts_again"]
    (merged,) = ada.stub.GetMerged(draft_pb2.GetMergedRequest(**ada.where), metadata=ada.metadata).records
    assert (merged.draft_version, dict(merged.record.content.struct)) == (1, {"x": 1})


async def test_save_that_violates_a_key_again_is_an_unforeseen_error(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """The second statement expects the rows of other calls, so its violation is not a race, which would be tried more.

    PostgreSQL undoes no step of a sequence, so that it counts the tries.
    """
    await connection.execute(
        """CREATE SEQUENCE tries; CREATE FUNCTION violate() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('tries'); RAISE unique_violation; END$$;
        CREATE TRIGGER violate BEFORE INSERT ON draftline.draft FOR EACH ROW EXECUTE FUNCTION violate()"""
    )
    with serving(database_url) as server, grpc.insecure_channel(server.address) as channel:
        Records(content_pb2_grpc.ContentServiceStub(channel), "acme").create("a", {})
        ada = Drafts(channel, "acme", "ada")
        failed = ada.refused("SaveDraft", ada.saving(edit("a", {"x": 1})))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert await connection.fetchval("SELECT last_value FROM tries") == 2


@pytest.mark.parametrize("is_shared", [False, True])
def test_commit_refreshes_drafts_only_if_others_have_them(
    records: Records, ada: Drafts, bob: Drafts, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    records.create("a", {})
    save(ada, "a", delta={"json": '{"x": 1}'})
    if is_shared:
        save(bob, "a", delta={"json": '{"y": 1}'})
    send: Callable[..., Awaitable[Any]] = Transaction.fetch
    sent = list[str]()

    async def fetch(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
        sent.append(statement.name)
        return await send(self, statement, values)

    monkeypatch.setattr(Transaction, "fetch", fetch)
    ada.stub.Commit(draft_pb2.CommitRequest(**ada.where, all=True), metadata=ada.metadata)
    assert sent == ["write_plain_drafts", "select_drafts", *(["refresh_drafts"] if is_shared else [])]
    (merged,) = bob.stub.GetMerged(draft_pb2.GetMergedRequest(**bob.where), metadata=bob.metadata).records
    assert dict(merged.record.content.struct) == ({"x": 1, "y": 1} if is_shared else {"x": 1})

"""An administrator reads and discards drafts of another user, by its own permission; each such call is logged."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import draftline
import pytest
from support.authenticated_server import ISSUER, Guarded, guarded
from support.log_capture import logged
from support.server_process import invoked
from support.servers import cloned

EDITOR = "content:read content:write draft:write"
ADMIN = f"{EDITOR} draft:admin"


@pytest.fixture(scope="module")
def server(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path_factory.mktemp("keys")) as running:
        yield running


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid.uuid4()}"


def client(server: Guarded, tenant: str, user: str, scope: str, *, granted: str = "") -> draftline.Client:
    token = ISSUER.token(sub=user, organization_ids=[granted or tenant], scope=scope)
    return draftline.Client(server.running.address, tenant_id=tenant, token=token)


def test_admin_reads_and_discards_drafts_of_a_user_alone(server: Guarded, tenant: str) -> None:
    with (
        client(server, tenant, "bob", EDITOR) as bob,
        client(server, tenant, "cid", EDITOR) as cid,
        client(server, tenant, "root", ADMIN) as root,
    ):
        bob.import_content("films", [("1", {"n": 1}), ("2", {"n": 2})])
        for number, user in enumerate((bob, cid, root)):
            user.save_draft("films", "1", {"mine": number})
        bob.save_draft("films", "new", create={"n": 3})
        with logged() as events:
            seen = root.get_merged_page("films", view="drafts_only", draft_user="bob")
            assert [(each.record_id, each.content, each.modified_by) for each in seen.records] == [
                ("1", {"n": 1, "mine": 0}, "bob"),
                ("new", {"n": 3}, "bob"),
            ]
            assert [each.content["n"] for each in root.get_merged("films", filter="mine = 0", draft_user="bob")] == [1]
            preview = root.discard("films", all=True, draft_user="bob", validate_only=True)
            done = root.discard("films", record_ids=["1"], draft_user="bob", include_content=True)
            assert (preview.selected_count, [each.content for each in done]) == (2, [{"n": 1, "mine": 0}])
        audit = [each for each in events if each["event"] == "drafts_of_user_accessed"]
        assert [(each["method"], each["drafts"], each["validate_only"]) for each in audit] == [
            ("GetMerged", 2, False), ("GetMerged", 1, False), ("Discard", 2, True), ("Discard", 1, False)
        ]  # fmt: skip
        assert {(each["tenant_id"], each["user_id"], each["draft_user_id"]) for each in audit} == {
            (tenant, "root", "bob")
        }
        assert "mine" not in str(audit)
        left = {
            user: [each.record_id for each in who.get_merged("films", view="drafts_only")]
            for user, who in (("bob", bob), ("cid", cid), ("root", root))
        }
        assert left == {"bob": ["new"], "cid": ["1"], "root": ["1"]}


@pytest.mark.parametrize("scope", [EDITOR, f"{EDITOR} content:purge change:read collection:admin", "draft:admin"])
def test_drafts_of_others_need_the_permission_and_those_of_the_call(server: Guarded, tenant: str, scope: str) -> None:
    with client(server, tenant, "bob", EDITOR) as bob, client(server, tenant, "eve", scope) as eve:
        bob.save_draft("films", "1", create={"n": 1})
        for call in (
            lambda: eve.get_merged_page("films", draft_user="bob"),
            lambda: eve.discard("films", all=True, draft_user="bob"),
        ):
            with pytest.raises(draftline.PermissionDeniedError):
                call()
        assert bob.discard("films", all=True).selected_count == 1


def test_permission_in_one_tenant_gives_nothing_in_another(server: Guarded, tenant: str) -> None:
    other = f"{tenant}-other"
    with client(server, tenant, "bob", EDITOR) as bob, client(server, tenant, "root", ADMIN, granted=other) as root:
        bob.save_draft("films", "1", create={"n": 1})
        for call in (
            lambda **where: root.get_merged_page("films", draft_user="bob", **where),
            lambda **where: root.discard("films", all=True, draft_user="bob", **where),
        ):
            with pytest.raises(draftline.PermissionDeniedError, match="no access to this tenant"):
                call()
            found = call(tenant_id=other)  # the same user in the other tenant has no drafts
            assert (getattr(found, "records", ()) or (), getattr(found, "selected_count", 0)) == ((), 0)
        assert bob.discard("films", all=True).selected_count == 1


def test_admin_without_content_read_gets_no_content(server: Guarded, tenant: str) -> None:
    with (
        client(server, tenant, "bob", EDITOR) as bob,
        client(server, tenant, "root", "draft:write draft:admin") as root,
    ):
        bob.save_draft("films", "1", create={"n": 1})
        with pytest.raises(draftline.PermissionDeniedError):
            root.get_merged_page("films", draft_user="bob")
        with pytest.raises(draftline.PermissionDeniedError):
            root.discard("films", all=True, draft_user="bob", include_content=True)
        assert root.discard("films", all=True, draft_user="bob").selected_count == 1


def test_discard_with_a_request_id_is_repeated_for_the_admin(server: Guarded, tenant: str) -> None:
    request_id = str(uuid.uuid4())
    with client(server, tenant, "bob", EDITOR) as bob, client(server, tenant, "root", ADMIN) as root:
        bob.save_draft("films", "1", create={"n": 1})
        for _ in range(2):
            assert root.discard("films", all=True, draft_user="bob", request_id=request_id).selected_count == 1
        with pytest.raises(draftline.InvalidArgumentError) as reused:
            root.discard("films", all=True, request_id=request_id)
        assert reused.value.reason == "REQUEST_ID_REUSED"


def test_command_lists_and_discards_drafts_of_a_user(server: Guarded, tenant: str) -> None:
    token = ISSUER.token(sub="root", organization_ids=[tenant], scope=ADMIN)
    own = ["--tenant", tenant, "--address", server.running.address, "--token", token]
    with client(server, tenant, "bob", EDITOR) as bob:
        bob.save_draft("films", "1", create={"n": 1})
        listed = invoked("list", "films", "--draft-user", "bob", "--drafts-only", "--json", *own)
        assert listed.stdout == '{"record_id":"1","state":"draft","content":{"n":1}}\n'
        discard = ["discard", "films", "--all", "--draft-user", "bob", *own]
        asked = invoked(*discard, stdin=b"n\n")
        assert (asked.returncode, "Discard 1 drafts of bob?" in asked.stderr) == (1, True)
        assert invoked(*discard, "--yes", "--json").stdout == '{"discarded": 1}\n'
        assert invoked("discard", "films", *own).returncode == 2
        assert list(bob.get_merged("films")) == []


def test_users_with_drafts_are_listed_in_pages_and_the_call_is_logged(server: Guarded, tenant: str) -> None:
    with (
        client(server, tenant, "bob", EDITOR) as bob,
        client(server, tenant, "cid", EDITOR) as cid,
        client(server, tenant, "root", "draft:admin") as root,
    ):
        assert list(root.list_draft_users()) == []
        bob.save_draft("films", "1", create={"secret": 1})
        first = bob.save_draft("books", "1", create={"secret": 1}).modify_time
        bob.save_draft("films", "2", create={"secret": 1})
        cid.save_draft("films", "1", create={"secret": 1})
        last = bob.save_draft("films", "2", {"secret": 2}).modify_time
        with logged() as events:
            found = list(root.list_draft_users(page_size=1))
        assert [(each.user_id, each.draft_count, each.collection_count) for each in found] == [
            ("bob", 3, 2),
            ("cid", 1, 1),
        ]
        assert found[0].oldest_create_time < first < found[0].newest_modify_time == last
        films = [(each.user_id, each.draft_count) for each in root.list_draft_users(collection="films")]
        assert films == [("bob", 2), ("cid", 1)]
        assert [each.oldest_create_time for each in root.list_draft_users(collection="books")] == [first]
        audit = [each for each in events if each["event"] == "draft_users_listed"]
        assert [(each["tenant_id"], each["user_id"], each["users"]) for each in audit] == [(tenant, "root", 1)] * 2


def test_list_of_users_needs_the_permission_in_the_tenant_and_shows_no_other(server: Guarded, tenant: str) -> None:
    other = f"{tenant}-other"
    with (
        client(server, tenant, "bob", f"{EDITOR} content:purge change:read collection:admin") as bob,
        client(server, tenant, "root", "draft:admin", granted=other) as root,
    ):
        bob.save_draft("films", "1", create={})
        with pytest.raises(draftline.PermissionDeniedError):
            next(bob.list_draft_users())
        with pytest.raises(draftline.PermissionDeniedError, match="no access to this tenant"):
            next(root.list_draft_users())
        assert list(root.list_draft_users(tenant_id=other)) == []


def test_command_lists_the_users_with_drafts(server: Guarded, tenant: str) -> None:
    own = ["--tenant", tenant, "--address", server.running.address]
    token = ISSUER.token(sub="root", organization_ids=[tenant], scope="draft:admin")
    with client(server, tenant, "bob", EDITOR) as bob:
        saved = bob.save_draft("films", "1", create={}).modify_time.isoformat()
    listed = invoked("draft-users", "--json", *own, "--token", token)
    times = {"oldest_create_time": saved, "newest_modify_time": saved}
    assert json.loads(listed.stdout) == {"user_id": "bob", "draft_count": 1, "collection_count": 1, **times}
    assert "bob" in invoked("draft-users", *own, "--token", token).stdout


def test_command_discards_only_the_drafts_that_were_confirmed(
    server: Guarded, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = ISSUER.token(sub="root", organization_ids=[tenant], scope=ADMIN)
    own = ["--tenant", tenant, "--address", server.running.address, "--token", token]
    discard = ["discard", "films", "--all", "--draft-user", "bob", "--json", *own]
    with client(server, tenant, "bob", EDITOR) as bob:
        bob.save_draft("films", "1", create={"n": 1})
        late: list[Any] = [lambda: bob.save_draft("films", "2", create={"n": 2})]

        def confirm_late(*_: Any, **__: Any) -> bool:
            late.pop()()
            return True

        monkeypatch.setattr("click.confirm", confirm_late)
        assert invoked(*discard).stdout == '{"discarded": 1}\n'
        assert [each.record_id for each in bob.get_merged("films")] == ["2"]
        late.append(lambda: bob.save_draft("films", "2", {"n": 3}))
        refused = invoked(*discard)
        assert (refused.returncode, "DRAFT_VERSION_MISMATCH" in refused.stderr) == (1, True)
        assert next(iter(bob.get_merged("films"))).content == {"n": 3}

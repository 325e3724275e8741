"""An operator lists all tenants with what they use; quotas refuse what a tenant would add, and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import draftline
import grpc
import pytest
from draftline.v1 import tenant_pb2
from draftline_server.auth.keys import new_service_key
from support.authenticated_server import ISSUER, METHODS, Guarded, guarded, request_of
from support.log_capture import logged
from support.polling import until
from support.server_process import invoked
from support.servers import cloned

OPERATOR, OPERATOR_ENTRY = new_service_key("operator", [], ["tenants:read"], all_tenants=True)
BACKUP, BACKUP_ENTRY = new_service_key("backup", [], ["content:read"], all_tenants=True)
NAMED, NAMED_ENTRY = new_service_key("named", ["acme"], ["tenants:read"])
SALES, SALES_ENTRY = new_service_key("sales", [], ["tenants:write"], all_tenants=True)
ENTRIES = (OPERATOR_ENTRY, BACKUP_ENTRY, NAMED_ENTRY, SALES_ENTRY)
SCOPE = "content:read content:write content:purge draft:write collection:admin"
LIST, SET = (next(each for each in METHODS if each.name == name) for name in ("ListTenants", "SetTenantQuotas"))
MAX_RECORDS, MAX_DRAFTS = 4, 3


@pytest.fixture(scope="module")
def server(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = {
        "tenant_count_interval_s": 0.05,
        "max_records_per_tenant": MAX_RECORDS,
        "max_drafts_per_tenant": MAX_DRAFTS,
    }
    with (
        cloned(postgres_url, template) as url,
        guarded(url, tmp_path_factory.mktemp("keys"), *ENTRIES, **settings) as running,
    ):
        yield running


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid.uuid4()}"


def client(server: Guarded, tenant: str, user: str = "ada") -> draftline.Client:
    token = ISSUER.token(sub=user, organization_ids=[tenant], scope=SCOPE)
    return draftline.Client(server.running.address, tenant_id=tenant, token=token)


def listed(server: Guarded, **options: Any) -> dict[str, draftline.Tenant]:
    with draftline.Client(server.running.address, token=OPERATOR) as operator:
        return {each.tenant_id: each for each in operator.list_tenants(**options)}


def counts(server: Guarded, tenant: str) -> tuple[int, int, int] | None:
    found = listed(server)[tenant]
    return found.count_time and (found.collection_count, found.record_count, found.draft_count)


def await_quota(write: Any) -> draftline.QuotaExceededError:
    """Repeat a write until the quota refuses it."""

    def refused() -> draftline.QuotaExceededError | None:
        try:
            write()
        except draftline.QuotaExceededError as error:
            return error
        return None

    return until(refused)


def test_operator_lists_tenants_page_by_page_with_what_each_uses(server: Guarded) -> None:
    prefix = uuid.uuid4().hex
    names = [f"{prefix}-{number}" for number in range(4)]
    with client(server, names[0]) as a, client(server, names[1]) as b, client(server, names[2]) as c:
        a.import_content("films", [("1", {"n": 1}), ("2", {"n": 2})])
        a.import_content("books", [("1", {"n": "x" * 5_000})])
        a.delete_content("films", "2")
        a.save_draft("films", "1", {"n": 3})
        b.save_draft("films", "new", create={})
        c.put_collection("declared", fields=[])
    expected = {names[0]: (2, 3, 1), names[1]: (0, 0, 1), names[2]: (1, 0, 0)}
    for name, figures in expected.items():
        until(lambda name=name, figures=figures: counts(server, name) == figures)
    whole = listed(server)
    assert list(whole) == sorted(whole)
    assert [name for name in whole if name.startswith(prefix)] == names[:3]
    assert [*listed(server, page_size=1)] == [*whole]
    assert whole[names[0]].content_bytes > whole[names[1]].content_bytes == 0
    printed = invoked("tenants", "--address", server.running.address, "--token", OPERATOR, "--json")
    rows = {row["tenant_id"]: row for row in map(json.loads, printed.stdout.splitlines())}
    assert (rows[names[0]]["record_count"], rows[names[0]]["draft_count"]) == (3, 1)
    shown = invoked("tenants", "--address", server.running.address, "--token", OPERATOR)
    assert names[1] in shown.stdout


async def test_asynchronous_client_lists_tenants(server: Guarded, tenant: str) -> None:
    with client(server, tenant) as writer:
        writer.create_content("films", {})
    async with draftline.AsyncClient(server.running.address, token=OPERATOR) as operator:
        assert tenant in [each.tenant_id async for each in operator.list_tenants()]


@pytest.mark.parametrize(
    "token",
    [
        BACKUP,
        NAMED,
        ISSUER.token(organization_ids=["acme", ""], scope="tenants:read"),
        ISSUER.token(organization_ids={"acme": "tenants:read"}),
        ISSUER.token(organization_ids=["*"], scope="tenants:read"),
        None,
    ],
    ids=["backup", "named", "no_tenant", "scope_of_a_tenant", "any_tenant", "anonymous"],
)
def test_tenants_are_listed_for_keys_of_all_tenants_with_the_permission_alone(
    server: Guarded, token: str | None
) -> None:
    with server.running.statements_of_calls() as seen:
        refusal = server.refusal(LIST, token, request_of(LIST, ""))
    assert refusal is not None
    assert refusal.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
    assert seen == []


def test_record_quota_refuses_what_adds_records_and_nothing_else(server: Guarded, tenant: str) -> None:
    with client(server, tenant) as caller, client(server, f"other-{tenant}") as other:
        caller.import_content("films", [(str(number), {"n": number}) for number in range(MAX_RECORDS)])
        caller.save_draft("films", "0", {"mine": 1})
        caller.save_draft("films", "new", create={})
        create = partial(caller.create_content, "films", {}, validate_only=True)
        error = await_quota(create)
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert (error.quota, error.limit, error.use) == ("records", MAX_RECORDS, MAX_RECORDS)
        assert error.retry_delay_s is None
        for write in (
            partial(caller.patch_content, "films", "none", {"n": 1}, allow_missing=True),
            partial(caller.import_content, "films", [("0", {"n": 9}), ("none", {})]),
            partial(caller.commit, "films", all=True),
            partial(caller.commit, "films", record_ids=["new"]),
        ):
            with pytest.raises(draftline.QuotaExceededError):
                write()
        patches = [draftline.Patch(each, {"n": 7}, allow_missing=True) for each in ("1", "none")]
        batch = caller.batch_patch_content("films", patches, allow_partial=True)
        assert [type(each.error) for each in batch] == [type(None), draftline.QuotaExceededError]
        with pytest.raises(draftline.NotFoundError):
            caller.patch_content("films", "none", {"n": 1})

        assert caller.patch_content("films", "0", {"n": 5}, allow_missing=True).record.content["n"] == 5
        assert caller.import_content("films", [("0", {"n": 6})]).updated_count == 1
        caller.commit("films", record_ids=["0"])
        caller.discard("films", all=True)
        caller.delete_content("films", "3")
        caller.undelete_content("films", "3")
        _restore_in_each_way(caller, "3")
        other.create_content("films", {})  # its quota is its own
        caller.purge_content("films", record_ids=["3"])
        until(lambda: _succeeds(create))
        caller.create_content("films", {})


def _restore_in_each_way(caller: draftline.Client, record_id: str) -> None:
    """Restore a record, which adds none, and delete it again."""
    patch = draftline.Patch(record_id, {"n": 1}, allow_missing=True, allow_deleted=True)
    for restore in (
        partial(caller.create_content, "films", {}, record_id=record_id, allow_deleted=True),
        partial(caller.patch_content, "films", record_id, {}, allow_missing=True, allow_deleted=True),
        partial(caller.batch_patch_content, "films", [patch]),
        partial(caller.import_content, "films", [(record_id, {})]),
    ):
        caller.delete_content("films", record_id)
        restore()
    for create in (
        partial(caller.create_content, "films", {}, record_id="none", allow_deleted=True),
        partial(caller.patch_content, "films", "none", {}, allow_missing=True, allow_deleted=True),
    ):
        with pytest.raises(draftline.QuotaExceededError):
            create()
    with pytest.raises(draftline.AlreadyExistsError):
        caller.create_content("films", {}, record_id=record_id, allow_deleted=True)
    caller.delete_content("films", record_id)


def _succeeds(write: Any) -> bool:
    try:
        write()
    except draftline.QuotaExceededError:
        return False
    return True


def test_import_and_batch_beyond_the_quota_write_nothing(server: Guarded, tenant: str) -> None:
    with client(server, tenant) as caller:
        with pytest.raises(draftline.QuotaExceededError) as refused:
            caller.import_content("films", [(str(number), {}) for number in range(MAX_RECORDS + 1)])
        assert (refused.value.use, refused.value.limit) == (0, MAX_RECORDS)
        creations = [draftline.Patch(str(number), {}, allow_missing=True) for number in range(MAX_RECORDS + 1)]
        with pytest.raises(draftline.QuotaExceededError, match=f"0 of at most {MAX_RECORDS} records and would add 5,"):
            caller.batch_patch_content("films", creations)
        assert list(caller.get_merged("films")) == []


def test_draft_quota_refuses_new_drafts_of_any_user_and_is_logged(server: Guarded, tenant: str) -> None:
    with logged() as events, client(server, tenant) as ada, client(server, tenant, "bob") as bob:
        ada.import_content("films", [(str(number), {"n": number}) for number in range(MAX_RECORDS)])
        for number in range(MAX_DRAFTS):
            ada.save_draft("films", str(number), {"n": 10})

        def warned() -> list[dict[str, Any]]:
            found = [each for each in events if each["event"] == "tenant_near_quota" and each["tenant_id"] == tenant]
            return [each for each in found if each["quota"] == "drafts"]

        assert [(each["use"], each["limit"]) for each in until(warned)] == [(MAX_DRAFTS, MAX_DRAFTS)]
        save = partial(bob.save_draft, "films", "3", {"n": 1})
        with pytest.raises(draftline.QuotaExceededError) as refused:
            save()
        error = refused.value
        assert (error.quota, error.limit, error.use) == ("drafts", MAX_DRAFTS, MAX_DRAFTS)
        assert list(bob.get_merged("films", view="drafts_only")) == []
        ada.save_draft("films", "0", {"n": 11})  # replaces one
        ada.commit("films", all=True)
        until(lambda: _succeeds(save))


def test_quotas_send_no_statements_with_writes(server: Guarded, tenant: str) -> None:
    with client(server, tenant) as caller:
        with server.running.statements_of_calls() as seen:
            caller.create_content("films", {}, record_id="1")
            caller.patch_content("films", "1", {"n": 1}, allow_missing=True)
            caller.import_content("films", [("2", {})])
            caller.save_draft("films", "1", {"n": 2})
            caller.commit("films", all=True)
        assert seen
        assert not [each for each in seen if "tenant_usage" in each]


def set_quotas(server: Guarded, tenant: str, **quotas: int | None) -> draftline.TenantQuotas:
    with draftline.Client(server.running.address, token=SALES) as sales:
        return sales.set_tenant_quotas(tenant, **quotas)


def test_quotas_of_one_tenant_override_those_of_the_settings_until_they_are_reset(server: Guarded, tenant: str) -> None:
    other = f"other-{tenant}"
    with logged() as events, client(server, tenant) as caller, client(server, other) as neighbour:
        for each in (caller, neighbour):
            each.import_content("films", [(str(number), {}) for number in range(MAX_RECORDS)])
        create = partial(caller.create_content, "films", {}, validate_only=True)
        await_quota(create)
        found = set_quotas(server, tenant, max_record_count=MAX_RECORDS + 1, max_draft_count=0)
        assert found == draftline.TenantQuotas(MAX_RECORDS + 1, 0, 0, ("max_record_count", "max_draft_count"))
        until(lambda: _succeeds(create))
        caller.create_content("films", {}, record_id="one-more")
        error = await_quota(create)
        assert (error.quota, error.limit, error.use) == ("records", MAX_RECORDS + 1, MAX_RECORDS + 1)
        for number in range(MAX_DRAFTS + 1):  # the quota of drafts is lifted
            caller.save_draft("films", str(number), {"n": 1})
        until(lambda: counts(server, tenant) == (1, MAX_RECORDS + 1, MAX_DRAFTS + 1))
        caller.save_draft("films", "one-more", {"n": 1})
        assert await_quota(partial(neighbour.create_content, "films", {}, validate_only=True)).limit == MAX_RECORDS

        listed_quotas = {name: each.quotas for name, each in listed(server).items()}
        assert listed_quotas[tenant] == found
        assert listed_quotas[other] == draftline.TenantQuotas(MAX_RECORDS, 0, MAX_DRAFTS, ())
        assert set_quotas(server, tenant, max_record_count=0).max_record_count == 0  # the other quota stays
        until(lambda: _succeeds(create))
        assert set_quotas(server, tenant, max_record_count=-1, max_draft_count=-1) == listed_quotas[other]
        assert await_quota(create).limit == MAX_RECORDS
    audit = [each for each in events if each["event"] == "tenant_quotas_set" and each["tenant_id"] == tenant]
    assert [(each["user_id"], each.get("max_record_count")) for each in audit] == [
        ("service:sales", MAX_RECORDS + 1), ("service:sales", 0), ("service:sales", -1)
    ]  # fmt: skip


def test_quota_may_be_set_before_the_first_write_of_a_tenant(server: Guarded, tenant: str) -> None:
    set_quotas(server, tenant, max_record_count=1)
    assert listed(server)[tenant].quotas.overridden == ("max_record_count",)
    set_quotas(server, tenant, max_record_count=-1)
    assert tenant not in listed(server)  # nothing is left of it
    set_quotas(server, tenant, max_record_count=1)
    with client(server, tenant) as caller:
        assert await_quota(lambda: caller.import_content("films", [(str(uuid.uuid4()), {}) for _ in "12"])).limit == 1


@pytest.mark.parametrize(
    "token",
    [
        OPERATOR,
        NAMED,
        ISSUER.token(organization_ids=["acme", ""], scope="tenants:write"),
        ISSUER.token(organization_ids=["*"], scope="tenants:write tenants:read"),
        None,
    ],
    ids=["may_only_read", "named", "no_tenant", "any_tenant", "anonymous"],
)
def test_quotas_are_set_by_keys_of_all_tenants_with_the_permission_alone(server: Guarded, token: str | None) -> None:
    request = tenant_pb2.SetTenantQuotasRequest(quota_tenant_id="acme", max_record_count=0)
    with server.running.statements_of_calls() as seen:
        refusal = server.refusal(SET, token, request)
    assert refusal is not None
    assert refusal.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
    assert seen == []
    assert server.refusal(LIST, SALES, request_of(LIST, "")) is not None


def test_command_sets_quotas_and_names_wrong_ones(server: Guarded, tenant: str) -> None:
    own = ("--address", server.running.address, "--token", SALES)
    done = invoked("tenant-quotas", tenant, "--records", "5,000,000", "--drafts", "none", *own)
    assert done.stdout == f"{tenant}: 5,000,000 records (own), unlimited drafts (own)\n"
    shown = invoked("tenants", "--address", server.running.address, "--token", OPERATOR).stdout
    assert "5,000,000 records (own), unlimited drafts (own)" in shown
    reset = invoked("tenant-quotas", tenant, "--records", "default", "--drafts", "default", "--json", *own)
    assert json.loads(reset.stdout)["overridden"] == []
    wrong = invoked("tenant-quotas", tenant, "--records", "-5", *own)
    assert (wrong.returncode, "is not a number from 1, none (no limit) or default" in wrong.stderr) == (2, True)
    assert invoked("tenant-quotas", tenant, *own).returncode == 2
    with pytest.raises(draftline.InvalidArgumentError, match="set at least one of max_record_count"):
        set_quotas(server, tenant)

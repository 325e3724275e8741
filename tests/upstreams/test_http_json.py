"""The HTTP connector: what it sends, and what it concludes from a response or its absence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from draftline.upstreams import (
    Applied,
    BatchRefusedError,
    CollectionBinding,
    Create,
    CursorExpiredError,
    Delete,
    Exists,
    FieldMapping,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    PathEdit,
    Refused,
    RemoteRecord,
    Stale,
    ThrottledError,
    UnauthorizedError,
    Unknown,
    UnreachableError,
    Update,
    WriteItem,
)
from draftline_server.upstreams.http_json.urls import follow, linked_next
from draftline_server.upstreams.registry import Upstreams
from support.log_capture import libraries_logged, logged
from support.scripted_http import CUT, Reply, ScriptedHttp, scripted
from support.toy_upstream import endpoints, shipped

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RESOURCE: dict[str, Any] = {**shipped("toy")["resources"]["parts"], "batch": None}
PART = {"id": "p-1", "version": 7, "reference": "r-1", "deleted": False, "content": {"rate": 1}}
RECORD = RemoteRecord(remote_id="p-1", remote_version="7", record_id="r-1", document={"rate": 1})


def item(write: Any, **fields: Any) -> WriteItem:
    remote_id = "" if isinstance(write, Create) else "p-1"
    given = {"idempotency_key": str(uuid.uuid4()), "record_id": "r-1", "remote_id": remote_id, "write": write, **fields}
    return WriteItem(**given)


CREATE, UPDATE, DELETE = item(Create({"rate": 1})), item(Update((PathEdit("/rate", 1),))), item(Delete())


@asynccontextmanager
async def opened(
    script: Any, fields: tuple[FieldMapping, ...] = (), resource: dict[str, Any] | None = None, **definition: Any
) -> AsyncIterator[tuple[Any, ScriptedHttp]]:
    """Yield a connection to a scripted API and the API."""
    async with scripted(script) as server:
        api = {**shipped("toy"), "base_url": f"http://127.0.0.1:{server.port}/v2", "tenants": ["acme"], "timeout_s": 5}
        api["resources"] = {"parts": {**RESOURCE, **(resource or {})}}
        for name, value in definition.items():
            api[name] = json.loads(json.dumps(value).replace("PORT", str(server.port)))
        current = endpoints({"api.secret": SECRET}, api=api)
        upstream = Upstreams(lambda: current).open(
            "api", "acme", [CollectionBinding(collection="parts", fields=fields)]
        )
        try:
            yield upstream, server
        finally:
            await upstream.close()


async def outcome(write: WriteItem, reply: Reply, **named: Any) -> Outcome:
    async with opened([reply], **named) as (upstream, _):
        (result,) = await upstream.write("parts", [write])
    return result


@pytest.mark.parametrize(
    ("write", "reply", "expected"),
    [
        (CREATE, (201, {}, PART), Applied("p-1", "7", RECORD)),
        (CREATE, (201, {"location": "/v2/parts/p%2F9", "etag": '"8"'}, b""), Applied("p/9", '"8"')),
        (CREATE, (201, {}, b""), Unknown("the response to the creation has neither the record nor a Location")),
        (CREATE, (202, {}, b""), Unknown("status 202")),
        (CREATE, (409, {}, PART), Exists(RECORD)),
        (CREATE, (409, {}, {**PART, "reference": "other"}), Exists()),
        (UPDATE, (200, {}, PART), Applied("p-1", "7", RECORD)),
        (UPDATE, (204, {"etag": '"8"'}, b""), Applied("p-1")),
        (UPDATE, (200, {}, {"id": "another"}), Applied("p-1")),
        (UPDATE, (404, {}, {"id": "p-1"}), Gone()),
        (UPDATE, (410, {}, b""), Gone()),
        (UPDATE, (409, {}, b""), Stale()),
        (UPDATE, (412, {}, PART), Stale(RECORD)),
        (DELETE, (204, {}, b""), Applied("p-1")),
        (DELETE, (404, {}, b""), Applied("p-1")),
        (DELETE, (412, {}, PART), Stale(RECORD)),
        (UPDATE, (408, {}, b""), Unknown("status 408")),
        (UPDATE, (500, {}, b""), Unknown("status 500")),
        (UPDATE, (503, {"retry-after": "5"}, b""), Unknown("status 503", 5.0)),
        (UPDATE, CUT, Unknown("the connection failed (RemoteProtocolError)")),
        (UPDATE, (400, {}, b"<html>"), Refused("HTTP_400", "the upstream responded with status 400")),
        (
            UPDATE,
            (422, {}, {"code": "BAD", "message": "no", "fields": [{"path": "rate", "message": "too high"}]}),
            Refused("BAD", "no", (FieldProblem("/rate", "too high"),)),
        ),
    ],
)
async def test_outcome_follows_from_the_response(write: WriteItem, reply: Reply, expected: Outcome) -> None:
    assert await outcome(write, reply) == expected


@pytest.mark.parametrize(
    ("write", "reply", "error"),
    [
        (UPDATE, (401, {}, b""), UnauthorizedError),
        (UPDATE, (403, {}, b""), UnauthorizedError),
        (UPDATE, (405, {}, b""), UnreachableError),
        (CREATE, (404, {}, b""), UnreachableError),
        (UPDATE, (302, {"location": "http://127.0.0.1/"}, b""), UnreachableError),
    ],
)
async def test_response_that_says_nothing_of_the_record_is_an_error_of_the_api(
    write: WriteItem, reply: Reply, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await outcome(write, reply)


async def test_throttling_of_all_items_is_an_error_and_of_some_an_outcome() -> None:
    throttled: Reply = (429, {"retry-after": "5"}, b"")
    async with opened([throttled, throttled, throttled, (200, {}, PART)]) as (upstream, _):
        with pytest.raises(ThrottledError) as raised:
            await upstream.write("parts", [UPDATE, DELETE])
        outcomes = await upstream.write("parts", [UPDATE, UPDATE])
    assert raised.value.after_s == 5.0
    assert sorted(map(repr, outcomes)) == sorted(map(repr, [NotTaken("status 429", 5.0), Applied("p-1", "7", RECORD)]))


async def test_repeat_of_a_creation_that_is_still_processed_is_unknown_and_not_refused() -> None:
    resource = {"unique_reference": False, "reference": ""}
    assert await outcome(CREATE, (409, {}, {"code": "IN_PROCESS"}), resource=resource) == Refused(
        "IN_PROCESS", "the upstream responded with status 409"
    )
    repeat = item(Create({}), repeat=True)
    assert await outcome(repeat, (409, {}, {}), resource=resource) == Unknown("status 409")


async def test_existing_record_is_found_by_its_reference() -> None:
    find = {"url": "parts?reference={record_id}", "items": "/found"}
    async with opened([(409, {}, b""), (200, {}, {"found": [PART]})], resource={"find": find}) as (upstream, server):
        outcomes = await upstream.write("parts", [item(Create({}), record_id="r-1")])
    assert outcomes == [Exists(RECORD)]
    assert [each.path for each in server.requests] == ["/v2/parts", "/v2/parts?reference=r-1"]


async def test_write_has_its_key_its_version_and_its_mapped_fields() -> None:
    fields = (
        FieldMapping(local="/rate", remote="/price/amount", type="number"),
        FieldMapping(local="/day", remote="/day", type="date", format="%d.%m.%Y"),
        FieldMapping(local="/state", remote="/s", type="enum", values={"open": 1, "closed": 2}),
    )
    edits = (PathEdit("/rate", 2.5), PathEdit("/day", "2026-11-29"), PathEdit("/state", "closed"))
    write = item(Update(edits), expected_remote_version="7")
    stored = {**PART, "content": {"price": {"amount": "2.5"}, "day": "29.11.2026", "s": 2, "other": 1}}
    async with opened([(200, {}, stored)], fields) as (upstream, server):
        (result,) = await upstream.write("parts", [write])
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/v2/parts/p-1")
    assert request.json == {"content": {"price": {"amount": "2.5"}, "day": "29.11.2026", "s": 2}}
    names = ("idempotency-key", "if-match", "prefer", "content-type")
    values = [write.idempotency_key, '"7"', "return=representation", "application/merge-patch+json"]
    assert [request.headers[each] for each in names] == values
    assert result.stored.document == {"rate": 2.5, "day": "2026-11-29", "state": "closed"}


async def test_header_of_the_file_replaces_that_of_the_connector() -> None:
    headers = {"Accept": "application/vnd.acme+json", "Prefer": "return=minimal"}
    async with opened([(204, {}, b"")], resource={"headers": headers}) as (upstream, server):
        await upstream.write("parts", [UPDATE])
    assert [server.requests[0].headers[each] for each in ("accept", "prefer")] == list(headers.values())


async def test_json_patch_and_replace_send_what_they_mean() -> None:
    edits = (PathEdit("/rate", 2), PathEdit("/a~1b", removed=True))
    patch = {"update": {"url": "parts/{id}", "format": "json_patch"}}
    async with opened([(200, {}, PART)], resource=patch) as (upstream, server):
        await upstream.write("parts", [item(Update(edits))])
    assert server.requests[0].json == [
        {"op": "add", "path": "/content/rate", "value": 2},
        {"op": "remove", "path": "/content/a~1b"},
    ]
    replace = {"update": {"url": "parts/{id}", "method": "PUT", "format": "replace"}}
    read = {**PART, "content": {"rate": 1, "a/b": 3, "unmapped": [1]}}
    script: list[Reply] = [(200, {}, read), (200, {}, PART), (200, {}, {**read, "version": 8})]
    async with opened(script, resource=replace) as (upstream, server):
        write = item(Update(edits), expected_remote_version="7")
        outcomes = [*await upstream.write("parts", [write]), *await upstream.write("parts", [write])]
    assert [type(each) for each in outcomes] == [Applied, Stale]
    assert server.requests[1].json == {**read, "content": {"rate": 2, "unmapped": [1]}}
    assert server.requests[1].headers["if-match"] == '"7"'


async def test_creation_by_put_happens_once_by_its_precondition() -> None:
    put = {"create": {"url": "parts/{record_id}", "method": "PUT"}, "reference": "", "id": "/reference"}
    async with opened([(412, {}, b""), (200, {}, PART)], resource=put) as (upstream, server):
        (result,) = await upstream.write("parts", [CREATE])
    assert (server.requests[0].path, server.requests[0].headers["if-none-match"]) == ("/v2/parts/r-1", "*")
    assert isinstance(result, Exists)
    assert result.record is not None


@pytest.mark.parametrize("remote_id", ["..", "."])
async def test_id_that_would_lead_to_another_path_is_not_sent(remote_id: str) -> None:
    async with opened([]) as (upstream, server):
        (refused,) = await upstream.write("parts", [item(Delete(), remote_id=remote_id)])
        (found,) = await upstream.lookup("parts", [remote_id])
    assert (type(refused), found.deleted, server.requests) == (Refused, True, [])


async def test_id_is_one_segment_whatever_it_contains() -> None:
    async with opened([(204, {}, b"")]) as (upstream, server):
        await upstream.write("parts", [item(Delete(), remote_id="../a b?c=d#e/%2F\r\nx: y")])
    assert server.requests[0].path == "/v2/parts/..%2Fa%20b%3Fc%3Dd%23e%2F%252F%0D%0Ax%3A%20y"


async def test_requests_are_not_more_than_the_rate_permits() -> None:
    started = time.monotonic()
    async with opened(lambda request: (200, {}, PART), rate_per_s=50) as (upstream, _):
        await upstream.lookup("parts", ["p-1"] * 6)
    assert time.monotonic() - started >= 5 / 50


@pytest.mark.parametrize(
    ("template", "remote_id", "path"),
    [
        ("Parts('{id}')", "x') or Id eq ('y", "Parts('x%27%27%29%20or%20Id%20eq%20%28%27%27y')"),
        (
            "p?filter=id%20eq%20%22{id}%22",
            'x" or id eq "\\',
            "p?filter=id%20eq%20%22x%5C%22%20or%20id%20eq%20%5C%22%5C%5C%22",
        ),
        ("p/{id}", "x'\"", "p/x%27%22"),
    ],
)
async def test_value_between_quotes_stays_within_them(template: str, remote_id: str, path: str) -> None:
    async with opened([(404, {}, b"")], resource={"read": {"url": template}}) as (upstream, server):
        await upstream.lookup("parts", [remote_id])
    assert server.requests[0].path == f"/v2/{path}"


# Batches

BATCH = {"batch": {"url": "parts:batch"}}


async def test_results_of_a_batch_are_outcomes_of_its_items() -> None:
    results = [
        {"status": 200, "record": PART}, {"status": 412}, {"status": 429}, {"status": 401}, {"no": 1}, {"status": 424},
    ]  # fmt: skip
    async with opened([(207, {}, {"results": results})], resource=BATCH) as (upstream, server):
        outcomes = await upstream.write("parts", [CREATE, UPDATE, DELETE, UPDATE, UPDATE, UPDATE])
    assert [type(each) for each in outcomes] == [Applied, Stale, NotTaken, NotTaken, Unknown, Refused]
    assert isinstance(outcomes[-1], Refused)
    assert outcomes[-1].reason == "ABORTED"
    assert [each["operation"] for each in server.requests[0].json["items"][:3]] == ["create", "update", "delete"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((422, {}, {"code": "BAD"}), BatchRefusedError),
        ((413, {}, b""), BatchRefusedError),
        ((429, {"retry-after": "1"}, b""), ThrottledError),
        ((403, {}, b""), UnauthorizedError),
    ],
)
async def test_batch_that_is_rejected_as_a_whole_is_an_error(reply: Reply, error: type[Exception]) -> None:
    async with opened([reply], resource=BATCH) as (upstream, _):
        with pytest.raises(error):
            await upstream.write("parts", [CREATE, UPDATE])


@pytest.mark.parametrize("reply", [CUT, (500, {}, b""), (200, {}, {"results": []})])
async def test_batch_without_results_is_unknown_for_every_item(reply: Reply) -> None:
    async with opened([reply], resource=BATCH) as (upstream, _):
        assert [type(each) for each in await upstream.write("parts", [CREATE, UPDATE])] == [Unknown, Unknown]


# Reads


async def test_cursor_of_changes_is_the_largest_time_less_the_overlap() -> None:
    changes = {"url": "parts?since={cursor}", "items": "/items", "updated": "/at", "overlap_s": 60}
    times = ["2026-11-29T10:00:00Z", "2026-11-29T12:00:00+01:00", "2026-11-29T10:30:00.5Z"]
    script: list[Reply] = [(200, {}, {"items": [{**PART, "at": each} for each in times]}), (200, {}, {"items": []})]
    async with opened(script, resource={"changes": changes}) as (upstream, server):
        (page,) = [each async for each in upstream.changes("parts", None)]
        (later,) = [each async for each in upstream.changes("parts", page.cursor)]
    assert [each.path for each in server.requests] == [
        "/v2/parts?since=",
        "/v2/parts?since=2026-11-29T11%3A59%3A00%2B01%3A00",
    ]
    assert later.cursor == page.cursor


@pytest.mark.parametrize(
    ("time", "since"),
    [
        ("2039-01-01T00:00:00Z", "2026-11-29T11:00:00Z"),
        ("2039-01-01T00:00:00+01:00", "2026-11-29T11:00:00Z"),
        ("2039-01-01T00:00:00", "2026-11-30T11:00:00Z"),
        ("2026-11-29T11:00:00.5+01:00", "2026-11-29T11:00:00.500000+01:00"),
    ],
)
async def test_time_in_the_future_is_no_cursor(time: str, since: str) -> None:
    """Read from the present of the API on after an item of a wrong clock."""
    changes = {"url": "parts?since={cursor}", "items": "/items", "updated": "/at", "overlap_s": 0}
    date = {"date": "Sun, 29 Nov 2026 11:00:00 GMT"}
    script: list[Reply] = [(200, date, {"items": [{**PART, "at": time}]}), (200, date, {"items": []})]
    async with opened(script, resource={"changes": changes}) as (upstream, server):
        (page,) = [each async for each in upstream.changes("parts", None)]
        assert [each async for each in upstream.changes("parts", page.cursor)]
    assert unquote(server.requests[1].path) == f"/v2/parts?since={since}"


async def test_number_as_cursor_stays_a_number() -> None:
    changes = {"url": "parts?since={cursor}", "items": "/items", "updated": "/version", "overlap_s": 2}
    script: list[Reply] = [(200, {}, {"items": [PART, {**PART, "version": 10}]}), (200, {}, {"items": []})]
    async with opened(script, resource={"changes": changes}) as (upstream, server):
        (page,) = [each async for each in upstream.changes("parts", None)]
        assert [each async for each in upstream.changes("parts", page.cursor)]
    assert server.requests[1].path == "/v2/parts?since=8"


async def test_expired_cursor_asks_for_a_snapshot() -> None:
    async with opened([(410, {}, b"")]) as (upstream, _):
        with pytest.raises(CursorExpiredError):
            [page async for page in upstream.changes("parts", None)]


BASE = "https://api.example.com/v2/"
OTHER_ORIGINS = [
    "http://api.example.com/x", "https://api.example.com:444/x", "https://api.example.com./x",
    "https://api.example.com@evil.com/", "https://api.example.com:443@evil.com/", "https://evil.com\\@api.example.com/",
    "https://api.example.com\\@evil.com/", "https://evil.com#@api.example.com/", "https://evil.com?@api.example.com/",
    "https://evil.com;@api.example.com/", "https://u@evil.com@api.example.com/", "https://user:pw@api.example.com/x",
    "https://[::1]@api.example.com/", "https://evil.com%23@api.example.com/", "https://api.example.com%2eevil.com/",
    "https://api.example.com\t.evil.com/", "https://api.example.com\n@evil.com/", " https://evil.com/", "//evil.com/x",
    "https://api.example\u3002com/", "https://\uff41pi.example.com/", "https://api.example.com:99999/", "javascript:1",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OTHER_ORIGINS)))
def test_link_with_another_origin_or_a_user_is_refused(number: int) -> None:
    with pytest.raises(UnreachableError):
        follow(BASE, BASE, OTHER_ORIGINS[number])


@pytest.mark.parametrize(
    "link", ["?cursor=1", "/ok", "https://API.EXAMPLE.COM:443/x", "/\\evil.com/", "https:evil.com"]
)
def test_link_that_is_followed_has_the_same_host_for_the_client(link: str) -> None:
    url = httpx.URL(follow(BASE, BASE, link))
    assert (url.scheme, url.host, url.port, url.userinfo) == ("https", "api.example.com", None, b"")


@pytest.mark.parametrize(
    "link", ["https://evil.example.com/v2/parts", "//evil.example.com/", "http://127.0.0.1:1/", "file:///etc/passwd", 5]
)
async def test_link_to_another_host_is_not_followed(link: object) -> None:
    async with opened([(200, {}, {"items": [PART], "next": link})]) as (upstream, server):
        with pytest.raises(UnreachableError):
            [page async for page in upstream.snapshot("parts", None)]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        (200, {}, b"<html>"),
        (200, {}, {"items": 5}),
        (200, {}, {"items": [{}]}),
        (200, {}, {"items": [{**PART, "content": 1}]}),
        (200, {}, {"items": [], "next": "/v2/parts"}),
        (200, {"content-encoding": "gzip"}, b"x"),
        (500, {}, b""),
        (302, {"location": "/"}, b""),
        CUT,
    ],
)
async def test_page_that_is_not_valid_is_an_error_and_not_an_empty_snapshot(reply: Reply) -> None:
    async with opened([reply]) as (upstream, _):
        with pytest.raises(UnreachableError):
            [page async for page in upstream.snapshot("parts", None)]


async def test_numbers_are_read_and_written_without_losing_a_digit() -> None:
    text = "12345678901234567890.123456789012345678901234567890"
    body = json.dumps(PART).replace('{"rate": 1}', f'{{"rate": {text}}}').encode()
    async with opened([(200, {}, body), (200, {}, body)]) as (upstream, server):
        (record,) = await upstream.lookup("parts", ["p-1"])
        await upstream.write("parts", [item(Update((PathEdit("/rate", record.document["rate"]),)))])
    assert server.requests[1].body == f'{{"content":{{"rate":{text}}}}}'.encode()


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/b?c=d>; rel="next"', "https://a/b?c=d"),
        ('</a>; rel="prev", </b>; rel="last next"', "/b"),
        ("</a>; title=x; rel=next", "/a"),
        ('</a>; rel="nextish"', None),
        ("", None),
    ],
)
def test_next_link_is_found_in_the_header(header: str, target: str | None) -> None:
    assert linked_next(header) == target


# Credentials


def oauth(script: list[Reply]) -> Any:
    auth = {
        "kind": "oauth_client_credentials",
        "token_url": "http://127.0.0.1:PORT/token",
        "client_id": "draft line",
        "secret_file": "api.secret",
        "scope": "parts",
    }
    return opened(script, auth=auth)


async def test_oauth_token_is_shared_and_renewed_when_it_is_rejected() -> None:
    script: list[Reply] = [
        (200, {}, {"access_token": "first-token", "expires_in": 3600}),
        (200, {}, PART),
        (401, {}, b""),
        (200, {}, {"access_token": "second-token"}),
        (200, {}, PART),
    ]
    async with oauth(script) as (upstream, server):
        for _ in range(2):
            assert (await upstream.lookup("parts", ["p-1"]))[0] == RECORD
    token, read, rejected, _, again = server.requests
    login = base64.b64decode(token.headers["authorization"].removeprefix("Basic ")).decode()
    assert (login, token.body) == (f"draft+line:{SECRET}", b"grant_type=client_credentials&scope=parts")
    sent = [each.headers["authorization"] for each in (read, rejected, again)]
    assert sent == ["Bearer first-token", "Bearer first-token", "Bearer second-token"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((401, {}, {"error": "invalid_client"}), UnauthorizedError),
        ((500, {}, b""), UnreachableError),
        ((200, {}, b"x"), UnreachableError),
        (CUT, UnreachableError),
    ],
)
async def test_write_is_not_sent_without_a_token(reply: Reply, error: type[Exception]) -> None:
    async with oauth([reply]) as (upstream, server):
        with pytest.raises(error):
            await upstream.write("parts", [UPDATE])
    assert len(server.requests) == 1


async def test_signature_is_that_of_standard_webhooks_and_its_id_is_that_of_the_write() -> None:
    auth = {"kind": "webhook_signature", "secret_file": "api.secret"}
    async with opened([(200, {}, PART)], auth=auth) as (upstream, server):
        await upstream.write("parts", [UPDATE])
    (request,) = server.requests
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert request.headers["webhook-id"] == UPDATE.idempotency_key


@pytest.mark.parametrize("kind", ["bearer", "basic"])
async def test_secret_that_the_api_repeats_is_hidden(kind: str) -> None:
    auth = {"kind": kind, "secret_file": "api.secret", **({"user": "ada"} if kind == "basic" else {})}

    def repeating(request: Any) -> Reply:
        credentials = f"{request.headers['authorization']} {SECRET}"
        fields = [{"path": "rate", "message": credentials}]
        return (422, {}, {"code": credentials, "message": f"not for {credentials}", "fields": fields})

    async with opened(repeating, auth=auth) as (upstream, _):
        (refused,) = await upstream.write("parts", [UPDATE])
    assert isinstance(refused, Refused)
    assert "***" in refused.message
    assert SECRET not in repr(refused)
    assert base64.b64encode(f"ada:{SECRET}".encode()).decode() not in repr(refused)


async def test_no_log_has_a_secret() -> None:
    script: list[Reply] = [(200, {}, {"access_token": "the-token"}), (200, {}, PART), CUT, (500, {}, b"")]
    with logged() as events, libraries_logged(logging.DEBUG) as libraries:
        async with oauth(script) as (upstream, _):
            for _ in range(3):
                await upstream.write("parts", [UPDATE])
    texts = f"{libraries.getvalue()} {events}"
    assert "send_request_headers" in texts
    assert SECRET not in texts
    assert "the-token" not in texts


async def test_host_that_is_not_permitted_gets_no_request() -> None:
    async with opened([], networks=["10.0.0.0/8"]) as (upstream, server):
        with pytest.raises(UnreachableError, match="neither global nor in `networks`"):
            await upstream.write("parts", [UPDATE])
    assert server.requests == []


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await outcome(UPDATE, (200, {}, PART)), Applied)


@pytest.mark.parametrize(
    ("resource", "problem"),
    [
        ({"read": {"url": "https://evil.example.com/{id}"}}, "resources.parts.read.url: must be relative to base_url"),
        ({"read": {"url": "../{id}"}}, "resources.parts.read.url: must be relative to base_url"),
        ({"read": {"url": "parts/{name}"}}, "resources.parts.read.url: {name} is not one of {id}"),
        ({"list": {"url": "parts/{+cursor}"}}, "resources.parts.list.url: {+cursor} is not one of {cursor}, {offset}"),
        ({"delete": {"url": "parts/{id"}}, "resources.parts.delete.url: has a brace without its counterpart"),
    ],
)
async def test_template_that_leaves_the_base_url_is_rejected(resource: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="endpoint 'api': ") as raised:
        async with opened([], resource=resource):
            pass
    assert str(raised.value) == f"endpoint 'api': {problem}"


LOOPS: dict[str, tuple[dict[str, Any], Any]] = {
    "to itself": ({"next": "/next"}, lambda request: {"items": [PART], "next": request.path}),
    "between two": (
        {"next": "/next"},
        lambda request: {"items": [PART], "next": "?b" if request.path.endswith("?a") else "?a"},
    ),
    "an offset that is ignored": ({"url": "parts?at={offset}", "offset": True}, lambda _: {"items": [PART]}),
}


@pytest.mark.parametrize("loop", LOOPS)
async def test_pages_that_never_end_are_an_error(loop: str) -> None:
    """Stop at a page that was read before, in place of reading for good."""
    paging, body = LOOPS[loop]
    paging = {"url": "parts", "items": "/items", **paging}
    script = lambda request: (200, {}, body(request))  # noqa: E731
    async with opened(script, resource={"list": paging, "changes": paging}) as (upstream, server):
        for read in (upstream.snapshot, upstream.changes):
            with pytest.raises(UnreachableError, match=r"same items|read before"):
                [page async for page in read("parts", None)]
        assert len(server.requests) < 10


async def test_read_that_is_unavailable_for_a_time_is_tried_after_it() -> None:
    """Obey Retry-After with status 503 as with 429."""
    async with opened([(503, {"retry-after": "7"}, b""), (503, {}, b"")]) as (upstream, _):
        with pytest.raises(ThrottledError) as raised:
            await upstream.lookup("parts", ["p-1"])
        assert raised.value.after_s == 7.0
        with pytest.raises(UnreachableError):
            await upstream.lookup("parts", ["p-1"])

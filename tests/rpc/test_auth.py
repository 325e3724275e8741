"""Authentication accepts valid credentials and discloses nothing to other callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from draftline.v1 import change_pb2, content_pb2, content_pb2_grpc
from draftline_server.auth import authentication as auth
from draftline_server.auth import revocation
from draftline_server.auth.authentication import TokenAuthentication
from draftline_server.auth.identity import Identity
from draftline_server.auth.keys import new_service_key
from draftline_server.auth.revocation import cancel_when_revoked
from draftline_server.domain.errors import UnauthenticatedError
from draftline_server.rpc import handlers as pipeline
from draftline_server.rpc import validation
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.authenticated_server import ISSUER, METHODS, Guarded, bearer, guarded, request_of
from support.log_capture import logged
from support.polling import until
from support.responses import TIMEOUT_S, Refusal, refusal_of
from support.servers import cloned
from support.tokens import RULES, In, Issuer, key_set, keys_of, secret_token

STRANGER = Issuer.of("stranger")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
NOBODY = Refusal(UNAUTHENTICATED, "the call carries no valid token", "UNAUTHENTICATED", {}, {})
EXPIRED = Refusal(UNAUTHENTICATED, "the token has expired", "UNAUTHENTICATED", {"expired": "true"}, {})
KEY, ENTRY = new_service_key("billing", ["acme"], ["content:read", "content:write"])

GET = next(method for method in METHODS if method.name == "GetContent")
WATCH = next(method for method in METHODS if method.name == "WatchChanges")


@pytest.fixture(scope="module")
def server(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path_factory.mktemp("keys"), ENTRY) as made:
        request = content_pb2.CreateContentRequest(tenant_id="umbrella", collection="films", record_id="m-1")
        request.content.json = "{}"
        create = next(method for method in METHODS if method.name == "CreateContent")
        assert made.call(create, ISSUER.token(organization_ids=["umbrella"]), request)
        yield made


def refusal(server: Guarded, *metadata: tuple[str, str]) -> Refusal:
    """Return the error of a valid call with these credentials."""
    stub = content_pb2_grpc.ContentServiceStub(server.channel)
    request = content_pb2.GetContentRequest(tenant_id="acme", collection="films", record_id="m-1")
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetContent(request, metadata=metadata, timeout=TIMEOUT_S)
    return refusal_of(caught.value)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_caller_who_is_not_known_learns_nothing_of_the_request(server: Guarded, method: MethodDescriptor) -> None:
    for request in (request_of(method, "acme"), request_of(method, ""), b"", b"\xff", b"x" * 100_000):
        for token in (None, STRANGER.token()):
            assert server.refusal(method, token, request) == NOBODY


BAD = {
    "stranger": STRANGER.token(),
    "stranger's kid": STRANGER.token({"kid": "first"}),
    "unknown key": ISSUER.token({"kid": "unknown"}),
    "issuer": ISSUER.token(iss="https://other.example"),
    "audience": ISSUER.token(aud="other"),
    "lifetime": ISSUER.token(exp=In(86400)),
    "no expiry": ISSUER.token(exp=None),
    "not yet": ISSUER.token(nbf=In(86400)),
    "nobody": ISSUER.token(sub=None),
    "unsigned": jwt.api_jws.encode(b"{}", None, "none"),
    "secret": secret_token(b"not the secret that it should be signed with"),
    "crit": ISSUER.token({"crit": ["exp"], "exp": 1}),
    "garbage": "a.b.c",
    "words": "let me in",
    "empty": "",
    "service key": KEY[:-1] + ("A" if KEY[-1] != "A" else "B"),
    "no service key": "draftline_" + "A" * 43,
    "hash of a service key": ENTRY.split('"sha256": "')[1][:64],
    "large": ISSUER.token(large="x" * 6000) + "A" * 200,
    "too large": "A" * 8193,
    "expired and changed": ISSUER.token(iat=0, exp=60)[:-2] + "AA",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_token_of_any_kind_is_refused_in_the_same_words(server: Guarded, kind: str) -> None:
    assert refusal(server, *bearer(BAD[kind])) == NOBODY


@pytest.mark.parametrize("scheme", ["", "Basic ", "Bearer", "Bearer  ", "Token ", "Bearer Bearer "])
def test_token_that_is_sent_otherwise_is_refused(server: Guarded, scheme: str) -> None:
    assert refusal(server, ("authorization", scheme + ISSUER.token())) == NOBODY
    assert refusal(server, ("x-authorization", f"Bearer {ISSUER.token()}")) == NOBODY


def test_two_authorizations_are_refused(server: Guarded) -> None:
    good = ("authorization", f"Bearer {ISSUER.token()}")
    for two in ([good, good], [good, ("authorization", "")], [("authorization", "Basic eDp5"), good]):
        assert refusal(server, *two) == NOBODY
    joined = f"{good[1]}, {good[1]}"
    assert refusal(server, ("authorization", joined)) == NOBODY


def test_expired_token_is_told(server: Guarded) -> None:
    assert refusal(server, *bearer(ISSUER.token(iat=In(-600), exp=In(-60)))) == EXPIRED


@pytest.mark.parametrize(("scheme", "size"), [("Bearer", 10), ("bearer", 10), ("BEARER", 4500)])
def test_caller_is_who_the_token_says(server: Guarded, scheme: str, size: int) -> None:
    token = ISSUER.token(sub=f"ada-{size}", note="x" * size)
    metadata = (("authorization", f"{scheme} {token}"), ("x-draftline-user", "mallory"))
    stub = content_pb2_grpc.ContentServiceStub(server.channel)
    request = content_pb2.CreateContentRequest(tenant_id="acme", collection="films")
    request.content.json = "{}"
    record = stub.CreateContent(request, metadata=metadata, timeout=TIMEOUT_S).record
    assert record.created_by == f"ada-{size}"


def test_service_is_known_by_its_key(server: Guarded) -> None:
    stub = content_pb2_grpc.ContentServiceStub(server.channel)
    request = content_pb2.CreateContentRequest(tenant_id="acme", collection="films", record_id="of-billing")
    request.content.json = "{}"
    record = stub.CreateContent(request, metadata=bearer(KEY), timeout=TIMEOUT_S).record
    assert record.created_by == "service:billing"
    discard = next(method for method in METHODS if method.name == "Discard")
    assert server.refusal(discard, KEY, request_of(discard, "acme")).reason == "PERMISSION_DENIED"
    assert server.refusal(GET, KEY, request_of(GET, "umbrella")).reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_tenant_of_others_is_refused_the_same_whether_it_exists_or_not(server: Guarded, method: Any) -> None:
    requests = [request_of(method, tenant_id) for tenant_id in ("umbrella", "nothing")]
    with server.running.statements_of_calls() as seen:
        of_others = [server.refusal(method, ISSUER.token(), request) for request in requests]
    code = grpc.StatusCode.PERMISSION_DENIED
    assert of_others == [Refusal(code, "the caller has no access to this tenant", "PERMISSION_DENIED", {}, {})] * 2
    assert seen == []


def test_health_is_open_and_reflection_is_off(server: Guarded) -> None:
    health = health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    for version in ("v1", "v1alpha"):
        with pytest.raises(grpc.RpcError) as caught:
            server.send(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", (), b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_log_tells_why_and_holds_no_token(server: Guarded, tmp_path: Path) -> None:
    expired = ISSUER.token(iat=In(-600), exp=In(-60), note="planted")
    with guarded(server.running.url, tmp_path, ENTRY) as fresh, logged() as events:
        for token in (*BAD.values(), expired, ISSUER.token(), KEY):
            fresh.refusal(GET, token, request_of(GET, "acme"))
    text = str(events)
    why = {event["reason"] for event in events if event["event"] == "authentication_failed"}
    assert {"unknown signing key", "InvalidIssuerError", "InvalidAudienceError", "MissingRequiredClaimError exp",
            "expired", "unknown service key", "InvalidSignatureError", "lifetime exceeds 3600 s",
            "8193 bytes"} <= why  # fmt: skip
    for token in (*BAD.values(), expired, KEY):
        assert not [part for part in token.split(".") if len(part) > 8 and part in text]
    for told in ("planted", "ada", "stranger", "https://other.example", KEY[:20]):
        assert told not in text


def test_callers_who_are_refused_without_end_write_few_lines(server: Guarded, tmp_path: Path) -> None:
    with guarded(server.running.url, tmp_path) as fresh, logged() as events:
        for number in range(200):
            fresh.refusal(GET, f"forged-{number}", request_of(GET, "acme"))
        assert fresh.running.app.server.unauthenticated_calls == 200
    lines = [event for event in events if event["event"] == "authentication_failed"]
    assert 20 <= len(lines) < 60


def test_verified_token_is_remembered_until_the_keys_change(
    postgres_url: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []

    async def counted(token: str, *rest: Any) -> Identity:
        verified.append(token)
        return await authenticate_jwt(token, *rest)

    authenticate_jwt = auth.authenticate_jwt
    monkeypatch.setattr(auth, "authenticate_jwt", counted)
    with cloned(postgres_url, template) as url, guarded(url, tmp_path) as server:
        token = ISSUER.token()
        for _ in range(20):
            assert server.refusal(GET, token, request_of(GET, "acme")).reason == "INVALID_FIELD"
        assert verified == [token]
        (tmp_path / "jwks.json").write_bytes(key_set(STRANGER))
        until(lambda: server.refusal(GET, token, request_of(GET, "acme")) == NOBODY)
        assert server.refusal(GET, STRANGER.token(), request_of(GET, "acme")).reason == "INVALID_FIELD"


async def test_remembered_token_expires_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authentication = TokenAuthentication(await keys_of(tmp_path, ISSUER), RULES)
    metadata = bearer(ISSUER.token())
    identity = await authentication.identify(metadata)
    assert await authentication.identify(metadata) is identity
    monkeypatch.setattr(auth.time, "time", lambda: identity.expires_at)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await authentication.identify(metadata)
    await authentication.close()


async def test_no_more_is_remembered_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED", 3)
    authentication = TokenAuthentication(await keys_of(tmp_path, secret=b"x" * 32), RULES)
    for n in range(10):
        await authentication.identify(bearer(secret_token(b"x" * 32, sub=f"user-{n}")))
    assert [each.user_id for each in authentication._remembered.values()] == ["user-7", "user-8", "user-9"]
    await authentication.close()


def test_stream_ends_when_its_token_expires(postgres_url: str, template: str, tmp_path: Path) -> None:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path, auth_leeway_s=1.0) as server:
        stream = server.channel.unary_stream(
            f"/{WATCH.containing_service.full_name}/{WATCH.name}",
            change_pb2.WatchChangesRequest.SerializeToString,
            change_pb2.WatchChangesResponse.FromString,
        )
        expires_at = int(time.time()) + 2
        token = ISSUER.token(exp=expires_at)
        messages = stream(change_pb2.WatchChangesRequest(tenant_id="acme"), metadata=bearer(token), timeout=TIMEOUT_S)
        assert next(messages).resume_token
        with pytest.raises(grpc.RpcError) as caught:
            for _ in messages:
                pass
        assert refusal_of(caught.value) == EXPIRED
        assert time.time() >= expires_at + 1


def test_stream_of_a_service_ends_when_its_key_is_taken_out(
    postgres_url: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "CHECK_INTERVAL_S", 0.05)
    key, entry = new_service_key("follower", ["acme"], ["change:read"])
    with cloned(postgres_url, template) as url, guarded(url, tmp_path, entry, ENTRY) as server:
        stream = server.channel.unary_stream(f"/{WATCH.containing_service.full_name}/{WATCH.name}")
        request = change_pb2.WatchChangesRequest(tenant_id="acme").SerializeToString()
        messages = stream(request, metadata=bearer(key), timeout=TIMEOUT_S)
        assert next(messages)
        (tmp_path / "keys.json").write_text(f'{{"keys": [{ENTRY}]}}')
        with pytest.raises(grpc.RpcError) as caught:
            for _ in messages:
                pass
        assert refusal_of(caught.value) == NOBODY


async def test_what_runs_for_a_caller_ends_by_what_the_check_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "CHECK_INTERVAL_S", 0.001)
    checks = []

    async def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise UnauthenticatedError("no")

    with pytest.raises(UnauthenticatedError):
        async with cancel_when_revoked(Identity("ada"), check):
            await asyncio.sleep(60)
    with pytest.raises(TimeoutError, match="of its own"):
        async with cancel_when_revoked(Identity("ada"), check):
            raise TimeoutError("of its own")
    async with cancel_when_revoked(Identity("ada"), check):
        pass
    assert all(task.cancelling() for task in asyncio.all_tasks() if task.get_name() == "caller")


def test_as_many_calls_as_may_be_are_answered_and_others_told_to_wait(
    postgres_url: str, template: str, tmp_path: Path
) -> None:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path, max_calls=3) as server:
        stream = server.channel.unary_stream(f"/{WATCH.containing_service.full_name}/{WATCH.name}")
        request = change_pb2.WatchChangesRequest(tenant_id="acme").SerializeToString()
        watches = [stream(request, metadata=bearer(ISSUER.token())) for _ in range(3)]
        for watch in watches:
            assert next(watch)
        with ThreadPoolExecutor(8) as pool:
            refusals = pool.map(lambda _: server.refusal(GET, ISSUER.token(), request_of(GET, "acme")), range(50))
            assert {(each.code, each.reason) for each in refusals} == {
                (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            }
        # Who is not known is told so, and takes no place.
        assert server.refusal(GET, STRANGER.token(), request_of(GET, "acme")) == NOBODY
        watches.pop().cancel()
        until(lambda: server.refusal(GET, ISSUER.token(), request_of(GET, "acme")).reason == "INVALID_FIELD")
        for watch in watches:
            watch.cancel()


def test_request_is_not_even_parsed_before_its_caller_is_known(
    postgres_url: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []

    def noting(message_type: Any) -> Any:
        parse = validation.parser(message_type)
        return lambda data: parsed.append(data) or parse(data)

    monkeypatch.setattr(pipeline, "parser", noting)
    with cloned(postgres_url, template) as url, guarded(url, tmp_path) as server:
        for method in METHODS:
            assert server.refusal(method, STRANGER.token(), request_of(method, "acme")) == NOBODY
        assert not parsed
        assert server.refusal(GET, ISSUER.token(), request_of(GET, "acme")) is not None
        assert parsed

"""Any calls with any ids: done is what would be done if nobody sent a request twice."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import idempotent_calls
from support.idempotent_calls import Caller, Rows, alike, text
from support.mutating_calls import MUTATIONS, Mutation, with_id
from support.soak_scale import examples

REUSED = "request_id: was used for a different request within the last 24 hours; use a new id for each request"
USERS = ["ada", "bob"]
IDS = [str(uuid.UUID(int=number)) for number in range(3)]
_indexing = ("PutCollection: an index", "PutCollection: no version expected", "PutCollection: an expected version")
_quick = [each for each in MUTATIONS if str(each) not in _indexing]
_calls = st.tuples(st.sampled_from(_quick), st.sampled_from(USERS), st.sampled_from(IDS))


def _outcome(caller: Caller, method: str, request: Any) -> bytes | str:
    """The answer, or why there is none."""
    try:
        return text(caller.send(method, request))
    except grpc.RpcError as error:
        return str(error.details())


def _done(rows: Rows) -> Any:
    """Return the rows of a tenant, apart from requests, in a form that can be compared with another tenant."""
    for row in rows["change"]:
        del row["request_id"]
    return alike({table: found for table, found in rows.items() if table != "request"})


@settings(
    max_examples=examples(25), deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls=st.lists(_calls, min_size=5, max_size=20))
def test_calls_with_ids_do_what_the_same_calls_would_do_each_once(
    calls: list[tuple[Mutation, str, str]], server: Any
) -> None:
    name = uuid.uuid4().hex[:12]
    answered: dict[tuple[str, str], tuple[Any, bytes]] = {}
    with grpc.insecure_channel(server.address) as channel:
        tried, model = (Caller(channel, f"{kind}-{name}") for kind in ("tried", "model"))
        for caller in (tried, model):
            for record_id in "ab":
                caller.records.create(record_id, {"n": 1, "one": 1})
        for mutation, user, request_id in calls:
            one = Caller(channel, tried.tenant_id, user)
            request = with_id(mutation.request(one), request_id)
            outcome = _outcome(one, mutation.method, request)
            if (user, request_id) in answered:
                first, answer = answered[user, request_id]
                assert outcome == (answer if first == request else REUSED)
                continue
            other = Caller(channel, model.tenant_id, user)
            expected = _outcome(other, mutation.method, mutation.request(other))
            assert outcome == expected or (isinstance(outcome, bytes) and isinstance(expected, bytes))
            if isinstance(outcome, bytes):
                answered[user, request_id] = request, outcome
        assert _done(idempotent_calls.stored(server.url, tried)) == _done(idempotent_calls.stored(server.url, model))

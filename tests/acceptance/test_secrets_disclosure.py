"""Neither logs nor errors disclose a token, a key, a content, a statement or a path."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline_server.auth.keys import new_service_key
from draftline_server.embedded_postgres.process import __file__ as installed
from google.protobuf import message_factory
from support.authenticated_server import bearer, key_settings
from support.polling import until
from support.request_bytes import METHODS, good, name_of
from support.server_process import DRAFTLINE, environment
from support.servers import run_sql
from support.tokens import Issuer, secret_token

PLANTED = f"planted{uuid.uuid4().hex}"
CONTENT = {f"k{PLANTED}": PLANTED, "nested": {PLANTED: [PLANTED]}, "t": PLANTED}
KEY, ENTRY = new_service_key("billing", ["acme"], ["content:read", "content:write"])
STATEMENT = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|draftline\.(record|draft|change|collection))\b"
)
BY_NAME = {method.name: method for method in METHODS}

# What goes wrong in the database, and how it is put right again.
FAULTS = {
    "a table that is gone": (
        "ALTER TABLE draftline.record RENAME TO gone", "ALTER TABLE draftline.gone RENAME TO record",
    ),
    "a rule that content breaks": (
        "ALTER TABLE draftline.record ADD CONSTRAINT no_more CHECK (version < 1) NOT VALID",
        "ALTER TABLE draftline.record DROP CONSTRAINT no_more",
    ),
    "a rule that changes break": (
        "ALTER TABLE draftline.change ADD CONSTRAINT no_more CHECK (version < 0) NOT VALID",
        "ALTER TABLE draftline.change DROP CONSTRAINT no_more",
    ),
    "a function that fails": (
        "ALTER FUNCTION draftline.content_failure RENAME TO gone",
        "ALTER FUNCTION draftline.gone RENAME TO content_failure",
    ),
    "nobody left": (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'draftline'", "SELECT 1",
    ),
}  # fmt: skip


@dataclass
class Watched:
    """A service, and all that it says."""

    address: str = ""
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    codes: set[grpc.StatusCode] = field(default_factory=set)

    def call(self, channel: grpc.Channel, name: str, metadata: Any, **values: Any) -> None:
        """A good request of an rpc with these values; of a stream the first message is read."""
        method = BY_NAME[name]
        values = {"tenant_id": "acme", "json": json.dumps(CONTENT), **values}
        if method.client_streaming:
            requests = [good(method.input_type, (part,), **values) for part in method.input_type.fields]
        else:
            requests = [good(method.input_type, **values)]
        call = channel.stream_stream(name_of(method))(
            iter([request.SerializeToString() for request in requests]), metadata=metadata, timeout=30
        )
        try:
            answer = next(call, None)
            assert answer is None or message_factory.GetMessageClass(method.output_type).FromString(answer) is not None
            self.codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            trailers = [value for _, value in error.trailing_metadata() or ()]
            self.errors.append(f"{name}: {error.code()} {error.details()} {trailers}")
            self.codes.add(error.code())
        finally:
            call.cancel()


@contextmanager
def watched(log_format: str, **settings: object) -> Iterator[Watched]:
    """The service as a process, whose whole standard error is kept."""
    process = subprocess.Popen(
        [DRAFTLINE, "serve"],
        env=environment(
            port=0, log_format=log_format, log_level="debug", access_log="all", slow_statement_s=0.000001, **settings
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = Watched()
    assert process.stderr is not None
    reading = threading.Thread(target=lambda: seen.lines.extend(process.stderr))
    reading.start()
    try:
        until(lambda: re.search(r"127\.0\.0\.1:\d+", "".join(seen.lines)))
        found = re.search(r"127\.0\.0\.1:\d+", "".join(seen.lines))
        assert found is not None
        seen.address = found[0]
        yield seen
    finally:
        process.terminate()
        process.wait(30)
        reading.join()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_that_was_planted_shows(database_url: str, tmp_path: Path, log_format: str) -> None:
    folder = tmp_path / PLANTED
    folder.mkdir()
    good_token = secret_token(sub=f"ada{PLANTED[:20]}")
    tokens = [good_token, secret_token(exp=1), secret_token(aud=PLANTED), Issuer.of("stranger").token(), KEY, f"{KEY}x"]
    url = database_url.replace("draftline@", f"draftline:{PLANTED}@")
    with (
        watched(log_format, database_url=url, **key_settings(folder, ENTRY)) as seen,
        grpc.insecure_channel(seen.address) as channel,
    ):
        known = bearer(good_token)
        seen.call(channel, "CreateContent", known, record_id="m-1")
        drive(seen, channel, known)
        for token in tokens:
            seen.call(channel, "GetContent", bearer(token))
        for break_it, mend_it in FAULTS.values():
            run_sql(database_url, break_it)
            drive(seen, channel, known)
            run_sql(database_url, mend_it)
        (folder / "keys.json").write_text(f'{{"keys": ["{PLANTED}"]}}')
        (folder / "jwks.json").unlink()
        until(lambda: sum("reload_failed" in line for line in seen.lines) >= 2)
    assert {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAUTHENTICATED} <= seen.codes
    assert sum("unexpected_error" in line for line in seen.lines) > 10
    hidden = [PLANTED, str(tmp_path), str(Path(installed).parents[2]), KEY.removeprefix("draftline_")]
    for token in tokens[:4]:
        hidden += token.split(".")[1:]
    for text in (*seen.lines, *seen.errors):
        assert not [secret for secret in hidden if secret in text], text
        assert not STATEMENT.search(text), text


def drive(seen: Watched, channel: grpc.Channel, known: Any) -> None:
    """Every rpc, and such calls as are refused for what is stored, none of which says it again."""
    for method in METHODS:
        seen.call(channel, method.name, known, change_reason=PLANTED[:30])
    seen.call(channel, "GetContent", known, record_id="none")
    seen.call(channel, "CreateContent", known)
    seen.call(channel, "PatchContent", known, json='{"t": 1}', expected_version=99)
    seen.call(channel, "PatchContent", known, json='{"t": 1}', condition="t = 1")
    seen.call(channel, "SaveDraft", known, json='{"t": 2}', expected_draft_version=99)
    seen.call(channel, "GetMerged", known, filter="t =")
    seen.call(channel, "GetMerged", known, page_token="x")
    seen.call(channel, "ListChanges", known, filter="t.u = 1")

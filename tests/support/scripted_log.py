"""A change log for the scripted server: messages with tokens, and connections that break at given messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftline.v1 import change_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from support.scripted_server import HOLD

Break = tuple[int, Any]  # after so many messages, the first one included; how: a status, or None for an orderly end


def change(version: int, **fields: Any) -> change_pb2.Change:
    message = change_pb2.Change(
        tenant_id="acme",
        collection="movies",
        record_id="m-1",
        version=version,
        kind=change_pb2.CHANGE_KIND_UPDATE,
        source=change_pb2.CHANGE_SOURCE_PATCH_CONTENT,
        user_id="ada",
        create_time=Timestamp(seconds=1_700_000_000 + version),
    )
    message.MergeFrom(change_pb2.Change(**fields))
    return message


def unreadable(version: int) -> change_pb2.Change:
    """Return a change whose value is not JSON."""
    broken = change_pb2.PathChange(path="/n", new_value=types_pb2.JsonValue(json="{"))
    return change(version, paths=[broken])


@dataclass
class ScriptedLog:
    """Answers WatchChanges: a token is the number of messages that are over. What follows the breaks is held open."""

    messages: Sequence[Sequence[change_pb2.Change]]  # an empty one is a sign of life
    breaks: Iterable[Break] = ()
    tokens: list[str] = field(default_factory=list)  # that were asked for

    def __post_init__(self) -> None:
        self._breaks = iter(self.breaks)

    def __call__(self, request: change_pb2.WatchChangesRequest) -> Iterator[Any]:
        self.tokens.append(request.resume_token)
        place = int(request.resume_token or 0)
        answers = [change_pb2.WatchChangesResponse(resume_token=str(place))]
        for number, changes in enumerate(self.messages[place:], place + 1):
            answers.append(change_pb2.WatchChangesResponse(changes=changes, resume_token=str(number)))
        after, end = next(self._breaks, (len(answers), HOLD))
        yield from answers[:after]
        if end is not None:
            yield end

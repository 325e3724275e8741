"""Run `draftline sync` without one of its protections, to show that the tests would notice if it were missing.

python mutated_worker.py MUTATION[+MUTATION...]
"""

from __future__ import annotations

import dataclasses
import sys
import uuid
from typing import Any

from draftline_server.__main__ import main
from draftline_server.store.sync.merges import Merges
from draftline_server.sync import claims, conversion, sending

to_item, merge = conversion.to_item, Merges.merge
# Takes every value of the upstream.
OVERWRITING_MERGE = """CREATE OR REPLACE FUNCTION draftline.sync_merge(
    base jsonb, mine jsonb, theirs jsonb, policies jsonb, at text[]) RETURNS draftline.sync_merged
LANGUAGE sql IMMUTABLE AS $$ SELECT (theirs, theirs, '[]', '[]')::draftline.sync_merged $$"""


def new_key(attempt: Any) -> Any:
    return dataclasses.replace(to_item(attempt), idempotency_key=str(uuid.uuid4()))


def no_condition(attempt: Any) -> Any:
    return dataclasses.replace(to_item(attempt), expected_remote_version=None)


def neither_key_nor_condition(attempt: Any) -> Any:
    return dataclasses.replace(new_key(attempt), expected_remote_version=None)


async def unfenced(self: Any, bound: Any, answers: Any, mark: int, **named: Any) -> Any:
    return await merge(self, bound, answers, None, **{**named, "is_ordered": False})


async def unheld(self: Any, *given: Any, **named: Any) -> Any:
    """Merge unknown records at once, although one may be what a creation that is out has created."""
    return await merge(self, *given, **{**named, "needs_references": False})


def mutate(name: str) -> None:
    """Remove a protection."""
    items = {"new key": new_key, "no condition": no_condition, "neither": neither_key_nor_condition}
    if name in items:
        sending.to_item = items[name]  # type: ignore[attr-defined]
    elif name == "no fence":
        Merges.merge = unfenced  # type: ignore[method-assign]
    elif name == "lease":  # the worker does not notice that another one has taken over
        claims.LEASE_S, claims.RENEW_S = 3.0, 3600.0
    else:
        raise SystemExit(f"there is no mutation {name!r}")


if __name__ == "__main__":
    for each in sys.argv.pop(1).split("+"):
        mutate(each)
    main()

"""Settle the conflicts of a commit: the user's resolution decides each, or else the policy.

A resolution names the version of the record that the user saw. If the record was changed at that path since, or the
log cannot rule that out, the conflict is a new one and still undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from ..domain.content import Json
from ..domain.drafts import (
    ATTRIBUTE_PREFIX,
    ATTRIBUTES,
    Conflict,
    ConflictKind,
    ConflictPolicy,
    DraftKind,
    Resolution,
    Side,
)
from ..domain.edits import parse_pointer
from ..domain.errors import InvalidFieldError

POLICY_SIDES = {ConflictPolicy.KEEP_MINE: Side.MINE, ConflictPolicy.KEEP_THEIRS: Side.THEIRS}
MAX_POSITION = 2**63

_encode = msgspec.json.Encoder(decimal_format="number").encode
Chosen = Side | Resolution  # a resolution stands for its value


@dataclass(frozen=True, slots=True)
class Settlement:
    """The action of a commit: WRITE the draft's merge, SETTLE it by decisions, DELETE the record, or DROP the draft.

    `open` are the undecided conflicts; a draft with any of them cannot be committed.
    """

    action: str
    open: Sequence[Conflict] = ()
    decisions: Sequence[Mapping[str, object]] = ()  # as draftline.decided takes them
    attribute_decisions: Mapping[str, object] = field(default_factory=dict)  # as draftline.decided_attributes does

    @property
    def decisions_json(self) -> str:
        return _encode(self.decisions).decode() if self.decisions else "[]"

    @property
    def attribute_decisions_json(self) -> str:
        return _encode(self.attribute_decisions).decode() if self.attribute_decisions else "{}"


PLAIN = Settlement("WRITE")  # of a draft without conflicts


@dataclass(frozen=True, slots=True)
class Judged:
    """A resolution, and whether it is still valid; `fresh` is the conflict that it leaves open if it is not."""

    resolution: Resolution
    is_current: bool
    fresh: Conflict | None = None


Resolutions = Mapping[str, Mapping[str, Judged]]  # by record and by path


def resolution_arrays(resolutions: Sequence[Resolution]) -> dict[str, object]:
    """Return the arguments of `judge_resolutions`.

    Raises InvalidFieldError for an invalid path, or for one that is resolved twice.
    """
    seen: dict[tuple[str, str], int] = {}
    attributes: list[str | None] = []
    paths: list[str] = []
    for index, resolution in enumerate(resolutions):
        first = seen.setdefault((resolution.record_id, resolution.path), index)
        if first != index:
            raise InvalidFieldError.of(f"resolutions[{index}].path", f"is already decided by resolutions[{first}]")
        attribute = attribute_of(resolution.path)
        if attribute is None:
            _check_pointer(resolution, index)
        attributes.append(attribute)
        paths.append("[]" if attribute else _encode(parse_pointer(resolution.path, "path")).decode())
    return {
        "record_ids": [resolution.record_id for resolution in resolutions],
        "attributes": attributes,
        "paths": paths,
        "versions": [resolution.version for resolution in resolutions],
    }


def judged(
    collection: str, resolutions: Sequence[Resolution], rows: Sequence[asyncpg.Record], drafts: Mapping[str, Any]
) -> Resolutions:
    """Return the resolutions as they apply to the locked drafts.

    Raises InvalidFieldError for a record or path that no selected draft has, or for a value that is not valid there.
    """
    by_index = {row["index"] - 1: row for row in rows}
    result: dict[str, dict[str, Judged]] = {}
    for index, resolution in enumerate(resolutions):
        draft = drafts.get(resolution.record_id)
        if draft is None or index not in by_index:
            raise InvalidFieldError.of(f"resolutions[{index}].record_id", "has no selected draft")
        row = by_index[index]
        if not row["is_known"] and not _is_in_conflict(resolution.path, draft["conflicts"]):
            raise InvalidFieldError.of(f"resolutions[{index}].path", "is not a path that the draft edits")
        if resolution.side is None:
            _check_value(resolution, index, draft["kind"])
        fresh = _fresh(collection, resolution, row, draft["record_version"] or 0) if row["is_outdated"] else None
        judgement = Judged(resolution, not row["is_outdated"], fresh)
        result.setdefault(resolution.record_id, {})[resolution.path] = judgement
    return result


def settle(
    kind: str, is_deleted: bool, conflicts: Sequence[Conflict], decided: Mapping[str, Judged], policy: ConflictPolicy
) -> Settlement:
    """Return the settlement of a draft: its resolution decides each conflict, or else the policy."""
    if not conflicts and not decided and kind != DraftKind.DELETE:
        return PLAIN
    # A path without a conflict may have a resolution too.
    chosen: dict[str, Chosen] = {
        path: judgement.resolution.side or judgement.resolution
        for path, judgement in decided.items()
        if judgement.is_current
    }
    open_conflicts: list[Conflict] = []
    for conflict in [*conflicts, *_asked_again(conflicts, decided)]:
        choice = _choice(decided.get(conflict.path), policy)
        if choice is None:
            open_conflicts.append(conflict)
        else:
            chosen[conflict.path] = choice
    if open_conflicts:
        return Settlement("", open_conflicts)
    if kind == DraftKind.DELETE:
        return Settlement("DROP" if is_deleted or Side.THEIRS in chosen.values() else "DELETE")
    if conflicts and conflicts[0].kind is ConflictKind.DELETED and chosen[""] is Side.THEIRS:
        return Settlement("DROP")
    if kind == DraftKind.CREATE and chosen and all(choice is Side.THEIRS for choice in chosen.values()):
        return Settlement("DROP")
    return _settled(chosen)


def _is_in_conflict(path: str, conflicts_json: str) -> bool:
    return any(conflict["path"] == path for conflict in msgspec.json.decode(conflicts_json))


def attribute_of(path: str) -> str | None:
    """Return the name of the attribute that a conflict's path denotes; None for a path into the content."""
    name = path.removeprefix(ATTRIBUTE_PREFIX)
    return name if name != path and name in ATTRIBUTES else None


def _settled(chosen: Mapping[str, Chosen]) -> Settlement:
    decisions: list[Mapping[str, object]] = []
    attributes: dict[str, object] = {}
    for path, choice in sorted(chosen.items(), key=lambda item: item[0]):  # the whole content first, then its parts
        if choice is Side.MINE:
            continue
        value = {"value": choice.value} if isinstance(choice, Resolution) else {}
        attribute = attribute_of(path)
        if attribute is None:
            decisions.append({"path": parse_pointer(path, "path"), **value})
        else:
            attributes[attribute] = {"value": choice.value or None} if _clears(attribute, choice) else value
    return Settlement("SETTLE" if decisions or attributes else "WRITE", (), decisions, attributes)


def _clears(attribute: str, choice: Chosen) -> bool:
    return attribute == "parent_id" and isinstance(choice, Resolution)  # an empty parent_id means none


def _choice(judgement: Judged | None, policy: ConflictPolicy) -> Chosen | None:
    if judgement is not None:
        if not judgement.is_current:
            return None if policy is ConflictPolicy.REJECT else POLICY_SIDES[policy]
        return judgement.resolution.side or judgement.resolution
    return POLICY_SIDES.get(policy)


def _asked_again(conflicts: Sequence[Conflict], decided: Mapping[str, Judged]) -> Iterable[Conflict]:
    """Yield the conflicts of outdated resolutions, at paths that are not in conflict by themselves."""
    paths = {conflict.path for conflict in conflicts}
    for path, judgement in decided.items():
        if path not in paths and judgement.fresh is not None:
            yield judgement.fresh


def _fresh(collection: str, resolution: Resolution, row: asyncpg.Record, version: int) -> Conflict | None:
    """Return the conflict that an outdated resolution leaves open; None if the draft's value is kept anyway."""
    is_as_decided = resolution.side is Side.MINE or row["mine"] == row["theirs"]
    if (is_as_decided and resolution.side is not None) or not resolution.path:
        return None
    return Conflict(
        collection,
        resolution.record_id,
        ConflictKind.VALUE,
        resolution.path,
        row["base"],
        row["mine"],
        row["theirs"],
        version,
    )


def _check_pointer(resolution: Resolution, index: int) -> None:
    try:
        parse_pointer(resolution.path, "path")
    except InvalidFieldError as error:
        problem = f"{error.fields[0][1]}, or the path of an attribute: record.parent_id, record.position"
        raise InvalidFieldError.of(f"resolutions[{index}].path", problem) from None


def _check_value(resolution: Resolution, index: int, kind: str) -> None:
    problem = _problem(resolution, resolution.value, kind)
    if problem:
        raise InvalidFieldError.of(f"resolutions[{index}].value", problem)


def _problem(resolution: Resolution, value: Json, kind: str) -> str:
    attribute = attribute_of(resolution.path)
    if kind == DraftKind.DELETE:
        return "must not be set: the draft deletes the record, so choose MINE or THEIRS"
    if not resolution.path and not isinstance(value, dict):
        return "must be an object, because it is the whole content"
    if attribute == "parent_id" and not (value is None or (isinstance(value, str) and _is_id(value))):
        return "must be null or a text of at most 128 characters without control characters, for record.parent_id"
    is_position = isinstance(value, int) and not isinstance(value, bool) and -MAX_POSITION <= value < MAX_POSITION
    if attribute == "position" and not (value is None or is_position):
        return "must be null or a 64-bit integer, for record.position"
    return ""


def _is_id(text: str) -> bool:
    return len(text) <= 128 and not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)

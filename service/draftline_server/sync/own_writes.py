"""Values that an upstream stored in another form than they were sent in.

The stored form of an own write is the new base of its path. A newer commit of the path is not in conflict with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from draftline import documents
from draftline.upstreams import Capabilities

from ..domain.edits import parse_pointer
from ..domain.sync import Answer, Attempt, Op, Policies, Policy, PolicyRule
from .conversion import edits_between

Path = tuple[str, ...]


def by_policies(
    policies: Policies, answers: Sequence[Answer], normalised: Mapping[str, Sequence[Path]]
) -> Iterator[tuple[Policies, Sequence[Answer]]]:
    """Yield the answers of writes with the policies to merge them by. `normalised`: paths by record id."""
    groups: dict[tuple[Path, ...], list[Answer]] = defaultdict(list)
    for each in answers:
        groups[tuple(normalised.get(each.record_id, ()))].append(each)
    for paths, members in groups.items():
        rules = tuple(PolicyRule(path, Policy.LOCAL_WINS, exact=True) for path in paths)
        yield Policies(policies.default, policies.rules + rules), members


def normalised_paths(
    batch: Sequence[Attempt], stored: Mapping[str, Answer], versions: Mapping[str, str], capabilities: Capabilities
) -> Mapping[str, Sequence[Path]]:
    """Return the paths that each attempt of a batch wrote and the upstream stored with another value.

    Others may have written such a path if the write was not conditional, if it was repeated, or if the record that was
    returned has another version than the write made (`versions`, by record id): it may be the record as it is now.
    These attempts are left out.
    """
    if not capabilities.conditional_writes:
        return {}
    found = {
        each.record_id: _normalised(each, stored[each.record_id])
        for each in batch
        if each.record_id in stored
        and not each.in_doubt
        and (each.op is Op.CREATE or each.if_match)
        and stored[each.record_id].remote_version == versions.get(each.record_id)
    }
    return {record_id: paths for record_id, paths in found.items() if paths}


def _normalised(attempt: Attempt, stored: Answer) -> Sequence[Path]:
    sent, found = documents.decode(attempt.sent or "{}"), documents.decode(stored.document)
    if sent == found:  # the usual case
        return ()
    differing = _paths(sent, found)
    written = _paths({} if attempt.op is Op.CREATE else documents.decode(attempt.base or "{}"), sent)
    return [
        path
        for path in differing
        if any(path[: len(each)] == each for each in written) and (path in written or _contains(sent, path))
    ]


def _paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Path]:
    return [tuple(parse_pointer(each.path, "path")) for each in edits_between(old, new)]


def _contains(document: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True

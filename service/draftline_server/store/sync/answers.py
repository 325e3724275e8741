"""The answers of one read, in the order in which they are merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...domain.sync import Answer
from ...domain.values import value_class


@value_class
class Resolved:
    """An answer with its record. `is_unchanged`: the record is synced with the version that the answer has."""

    record_id: str
    answer: Answer
    is_linked: bool
    is_unchanged: bool


def in_turns(found: Sequence[Resolved], *, is_ordered: bool) -> Iterator[Sequence[Answer]]:
    """Yield the answers to merge, with one answer for a record at a time.

    A read may answer a record several times, in any order. If versions tell which answer is the newest (`is_ordered`),
    the others are left out. Otherwise the last one is merged first, and the merge of the others finds that something
    newer is known, so that the record is read again. Those of other remote ids come before, and are reported.
    """
    by_record: dict[str, list[Resolved]] = {}
    for each in found:
        by_record.setdefault(each.record_id, []).append(each)
    turns: list[list[Answer]] = [[]]
    for answers in by_record.values():
        distinct = answers if len(answers) == 1 else _distinct(answers, is_ordered=is_ordered)
        if len(distinct) == 1 and distinct[0].is_unchanged:
            continue
        turns += [[] for _ in range(len(distinct) - len(turns))]
        for turn, each in zip(turns, distinct, strict=False):
            turn.append(replace(each.answer, record_id=each.record_id))
    yield from filter(None, turns)


def _distinct(answers: Sequence[Resolved], *, is_ordered: bool) -> Sequence[Resolved]:
    """Return the different answers for one record, in the order of merging; only the newest one if that is known."""
    different = list({each.answer: each for each in reversed(answers)}.values())
    versions = [each.answer.remote_version or "" for each in different]
    is_comparable = is_ordered and all(each.isascii() and each.isdecimal() for each in versions)
    if is_comparable and len({each.answer.remote_id for each in different}) == 1:
        return [max(different, key=lambda each: int(each.answer.remote_version or 0))]
    return sorted(different, key=lambda each: each.is_linked)

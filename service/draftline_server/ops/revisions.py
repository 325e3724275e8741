"""The revisions of the schema that this version knows: the scripts of migrations/.

Their order is that of their file names, which begin with the revision. Alembic reads the scripts themselves; it is not
imported to serve, because that takes a tenth of a start.
"""

from __future__ import annotations

from ..store.schema_problems import can_use, support_comment
from .resources import shipped

FOLDER = shipped("migrations")


def head() -> str:
    """Return the revision that this version of the service needs."""
    return known()[0]


def known() -> list[str]:
    """Return the revisions that this version knows, the newest first."""
    names = (path.name for path in (FOLDER / "versions").glob("[0-9]*_*.py"))
    return sorted((name.partition("_")[0] for name in names), reverse=True)


def between(older: str, newer: str) -> list[str]:
    """Return the revisions after `older` up to `newer`, the newest first; empty if `older` is the newer one."""
    revisions = known()
    return revisions[revisions.index(newer) : len(revisions) if older == "base" else revisions.index(older)]


def existing(revision: str) -> str:
    """Return the revision that `head` or another name means. Raise ValueError if it does not exist."""
    revisions = known()
    revision = revisions[0] if revision == "head" else revision
    if revision != "base" and revision not in revisions:
        raise ValueError(f"there is no revision {revision}; the revisions are {', '.join(reversed(revisions))}")
    return revision


def can_live_with(needed: str | None, current: str, target: str) -> bool:
    """Return whether a service that needs a revision can use every schema on the way to the target."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  slow, and not needed to serve

    revisions = known()
    if needed is None or "base" in (current, target):
        return False
    start, end = sorted((revisions.index(current), revisions.index(target)))
    script = ScriptDirectory(str(FOLDER))
    on_the_way = revisions[start : end + 1]
    oldest = {each: getattr(script.get_revision(each).module, "oldest_service", each) for each in on_the_way}
    return all(can_use(each, support_comment(each, oldest[each]), needed) for each in on_the_way)

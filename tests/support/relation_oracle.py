"""Related records as a plain join in Python over the rows of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from draftline_server.domain.filters.ast import Path
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.domain.relations import Direction, Relation
from draftline_server.store.relations.expansions import ExpandQuery

from .merged_oracle import Row, merged_list

Links = dict[tuple[str, ...], tuple[list[str], bool]]  # by the ids and relations that lead to them


class Joined:
    """The related records of one collection, whose relations all lead to itself."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        drafts: Sequence[Mapping[str, Any]],
        user: str,
        query: ExpandQuery,
        relations: Mapping[str, Relation],
    ) -> None:
        view = View.BASELINE if query.view is View.BASELINE else View.MERGED
        listed = MergedQuery(query.collection, session_id=query.session_id, view=view, show_deleted=query.show_deleted)
        self._rows = {row.attributes["record_id"]: row for row in merged_list(records, drafts, user, listed, {})}
        self._query = query
        self._relations = relations

    def links(self, roots: Sequence[str]) -> tuple[Links, dict[str, Row]]:
        """Return the related ids by root and path, and the related rows by id."""
        links: Links = {}
        for path in self._query.paths:
            for root in roots:
                self._follow((root,), root, path, links)
        included = {each: self._rows[each] for ids, _ in links.values() for each in ids}
        return links, included

    def reached(self, row: Row, path: Path) -> list[Row]:
        """Return the rows to which a path leads, without a limit. The first row itself may be deleted."""
        rows = [row]
        for name in path:
            found = [each for one in rows for each in self._from_row(self._relations[name], one)]
            rows = [self._rows[each] for each in dict.fromkeys(found) if each in self._rows]
        return rows

    def _follow(self, trail: tuple[str, ...], source: str, path: Path, links: Links) -> None:
        if not path:
            return
        related = self._related(self._relations[path[0]], source)
        limit = self._query.limit
        if self._relations[path[0]].direction in (Direction.FIELD, Direction.PARENT):
            kept = [each for each in related[:limit] if each in self._rows]
        else:
            kept = related[:limit]
        links[*trail, path[0]] = kept, len(related) > limit
        for each in kept:
            self._follow((*trail, path[0], each), each, path[1:], links)

    def _related(self, relation: Relation, source: str) -> list[str]:
        return self._from_row(relation, self._rows[source])

    def _from_row(self, relation: Relation, row: Row) -> list[str]:
        source = row.attributes["record_id"]
        if relation.direction is Direction.FIELD:
            return ids_at(row.content, relation.path)
        if relation.direction is Direction.PARENT:
            parent = row.attributes["parent_id"]
            return [] if parent is None else [parent]
        if relation.direction is Direction.INVERSE:
            return sorted(key for key, each in self._rows.items() if source in ids_at(each.content, relation.path))
        children = [each.attributes for each in self._rows.values() if each.attributes["parent_id"] == source]
        children.sort(key=lambda each: (each["position"] is None, each["position"] or 0, each["record_id"]))
        return [each["record_id"] for each in children]


def ids_at(content: Any, path: Path) -> list[str]:
    """Return the ids that a value names."""
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    values = content if isinstance(content, list) else [content]
    return list(dict.fromkeys(each for each in values if isinstance(each, str) and 0 < len(each) <= 128))

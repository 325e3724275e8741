"""Choose the request-shaped statements that stay prepared on connections.

A prepared statement with its plan takes up to two megabytes of a PostgreSQL backend (some 75 bytes for each character
of its SQL), and a caller can send any number of new filters. So only statements that are used repeatedly are
prepared, and only a limited number per window; the others run unprepared, and leave nothing behind.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

LIMIT = 64  # maximum number of statements that stay prepared, and that may become so within LIFETIME_S
LIMIT_CHARACTERS = 512 * 1024  # maximum total length of the SQL that becomes prepared within LIFETIME_S
LIFETIME_S = 300.0  # a connection keeps a prepared statement for at most that long
USES = 3  # a statement is prepared from this use on
REMEMBERED = 1024  # statements whose uses are counted


class PreparedStatements:
    """Chooses the request-shaped statements that are worth preparing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: OrderedDict[int, int] = OrderedDict()  # by the hash of the SQL, least recently used first
        self._prepared: OrderedDict[str, None] = OrderedDict()  # SQL, least recently used first
        self._window_end = float("-inf")
        self._added = self._added_characters = 0  # within the window

    def use(self, sql: str) -> bool:
        """Count a use of a statement; return whether to prepare it."""
        if sql in self._prepared:
            self._prepared.move_to_end(sql)
            return True
        key = hash(sql)
        uses = self._uses.pop(key, 0) + 1
        self._uses[key] = uses
        if len(self._uses) > REMEMBERED:
            self._uses.popitem(last=False)
        if uses < USES or not self._has_room(len(sql)):
            return False
        del self._uses[key]
        self._prepared[sql] = None
        if len(self._prepared) > LIMIT:
            self._prepared.popitem(last=False)
        return True

    def _has_room(self, characters: int) -> bool:
        """Return whether one more statement may become prepared now, and count it."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end = now + LIFETIME_S
            self._added = self._added_characters = 0
        if self._added == LIMIT or self._added_characters + characters > LIMIT_CHARACTERS:
            return False
        self._added += 1
        self._added_characters += characters
        return True

"""A form that saves input as a draft, survives a closed browser, and reports only real conflicts.

make serve                                  in one terminal
.venv/bin/python examples/form.py           in another
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import draftline
from draftline import ConflictPolicy

COLLECTION, FILM = "forms", "alien"


class Form:
    """One user's form for one record. Each change is saved at once as a draft, which only this user sees."""

    def __init__(self, client: draftline.Client, record_id: str) -> None:
        self._client = client
        self._record_id = record_id
        self._seen = next(client.get_merged(COLLECTION, record_ids=[record_id]))

    @property
    def fields(self) -> Mapping[str, Any]:
        return self._seen.content

    @property
    def is_dirty(self) -> bool:
        return self._seen.state is draftline.RecordState.DRAFT

    def type(self, **fields: Any) -> None:
        """Save the fields. Raise DraftVersionMismatchError if another window of the user has saved meanwhile."""
        saved = self._client.save_draft(
            COLLECTION, self._record_id, fields, expected_draft_version=self._seen.draft_version
        )
        if saved is None:
            raise RuntimeError("the record has been deleted")
        self._seen = saved

    def submit(self, keep: str = "reject") -> tuple[draftline.Conflict, ...]:
        """Commit the draft, merged with changes by others. Return the conflicts that prevent it."""
        versions = {self._record_id: self._seen.draft_version}
        try:
            self._client.commit(COLLECTION, record_ids=versions, conflict_policy=ConflictPolicy(keep))
        except draftline.ConflictError as error:
            return error.conflicts
        return ()


def main(address: str) -> None:
    with (
        draftline.Client(address, tenant_id="demo", user="ada") as ada,
        draftline.Client(address, tenant_id="demo", user="bob") as bob,
    ):
        ada.discard(COLLECTION, all=True)
        start = {"Title": "Alien", "Rating": 8, "Genre": "Horror"}
        ada.patch_content(COLLECTION, FILM, start, strategy="replace", allow_missing=True)

        form = Form(ada, FILM)
        for typed in ("A", "Al", "Alien (1979)"):
            form.type(Title=typed)
        form.type(Rating=9)
        print("bob sees:    ", bob.get_content(COLLECTION, FILM).content["Title"])

        form = Form(ada, FILM)  # the browser was closed and opened again
        print("ada is back: ", form.fields["Title"], "with unsaved edits" if form.is_dirty else "")

        window = Form(ada, FILM)
        window.type(Rating=9.5)
        try:
            form.type(Rating=7)
        except draftline.DraftVersionMismatchError as error:
            print("old window:  ", f"another is at version {error.current_draft_version} of the draft")

        bob.patch_content(COLLECTION, FILM, {"Rating": 8.4, "Genre": "Science Fiction"})
        for each in window.submit():
            print("conflict:    ", f"{each.path} was {each.base}, is {each.theirs}, would be {each.mine}")
        window.submit(keep="keep_mine")
        film = ada.get_content(COLLECTION, FILM).content
        print("written:     ", ", ".join(f"{name} {film[name]}" for name in ("Title", "Rating", "Genre")))


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))

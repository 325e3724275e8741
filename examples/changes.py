"""List changes with their authors and reasons, and revert a commit although another user edited a record afterwards.

make serve                                  in one terminal
.venv/bin/python examples/changes.py        in another
"""

from __future__ import annotations

import sys
from itertools import islice

import draftline

FILMS = {
    "alien": {"Title": "Alien", "Genre": "Horror"},
    "jaws": {"Title": "Jaws", "Genre": "Horror"},
    "shane": {"Title": "Shane", "Genre": "Western"},
}


def main(address: str) -> None:
    with (
        draftline.Client(address, tenant_id="demo", user="ada") as ada,
        draftline.Client(address, tenant_id="demo", user="bob") as bob,
    ):
        ada.import_content("shelf", FILMS.items(), mode="snapshot")
        with ada.session("shelf", change_reason="all of them are old") as session:
            for film in FILMS:
                session.edit(film, {"Genre": "Classic"})
        bob.patch_content("shelf", "shane", {"Genre": "Drama", "Rating": 7.6}, change_reason="I have seen it")

        for change in islice(bob.changes("shelf", "shane"), 2):
            edits = ", ".join(f"{each.path} to {each.new_value}" for each in change.paths)
            print(f"{change.user_id} by {change.source.value}: {edits} ({change.change_reason})")

        commit_id = session.results.commit_id
        try:
            ada.revert(commit_id=commit_id)
        except draftline.ConflictError as error:
            for each in error.conflicts:
                print(f"{each.record_id}: {each.path} would be reverted to {each.mine}, but is now {each.theirs}")
        ada.revert(commit_id=commit_id, conflict_policy="keep_theirs", change_reason="they are ageless")
        for merged in ada.get_merged("shelf"):
            print(f"{merged.content['Title']}: {merged.content['Genre']}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))

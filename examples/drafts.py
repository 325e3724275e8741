"""An editing session: draft changes of films, list them, preview a commit, discard.

make serve                                                          in one terminal
.venv/bin/draftline import examples/movies.json --tenant demo \
    --collection movies --id-from Title --id-from "Release Date"    in another, once
.venv/bin/python examples/drafts.py
"""

from __future__ import annotations

import sys

import draftline
from draftline import DraftEdit, op

SESSION = "an evening with westerns"


def top(client: draftline.Client) -> str:
    page = client.get_merged_page(
        "movies",
        filter='"Major Genre" = "Western"',
        order_by='"Worldwide Gross" desc',
        fields=["Title"],
        page_size=3,
        include_total_size=True,
    )
    return f"{page.total_size} westerns: {', '.join(each.content['Title'] for each in page.records)}"


def main(address: str) -> None:
    with (
        draftline.Client(address, tenant_id="demo", user="ada") as ada,
        draftline.Client(address, tenant_id="demo", user="bob") as bob,
    ):
        ada.discard("movies", session_id=SESSION)  # of an earlier run
        print("before:     ", top(ada))
        ada.save_drafts(
            "movies",
            [
                DraftEdit("avatar-dec-18-2009", {"Major Genre": "Western"}),
                DraftEdit("dances-with-wolves-nov-09-1990", operations=[op.union("/Tags", ["long"])]),
                DraftEdit("serenity-2019", create={"Title": "Serenity", "Major Genre": "Western"}),
            ],
            session_id=SESSION,
            change_reason="space is the frontier",
        )
        print("ada drafts: ", top(ada))
        print("bob sees:   ", top(bob))
        for each in ada.commit("movies", session_id=SESSION, validate_only=True):
            print("would write:", each.record_id, ", ".join(each.changed_fields))
        discarded = ada.discard("movies", session_id=SESSION)
        print("discarded:  ", len(discarded), "drafts")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))

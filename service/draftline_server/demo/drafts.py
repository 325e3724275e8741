"""The steps on drafts: two users of one tenant and the view that each has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import draftline
from draftline import Client, op

from .steps import Step, appending_to

STEPS: list[Step] = []
step = appending_to(STEPS)


@step("SaveDraft")
def draft(ada: Client) -> Any:
    """Ada drafts that Titanic is a drama, not a thriller. The baseline stays as it is."""
    return ada.save_draft(
        "movies",
        "titanic-dec-19-1997",
        {"Major Genre": "Drama"},
        change_reason="the ship does not matter",
        fields=["Major Genre"],
    )


@step("GetMerged", by="get_merged_page")
def dramas_of_ada(ada: Client) -> Any:
    """List her dramas by gross. Filter and order use the merged values, so the drafted film comes first."""
    return ada.get_merged_page(
        "movies",
        filter='"Major Genre" = "Drama"',
        order_by='"Worldwide Gross" desc',
        page_size=4,
        include_total_size=True,
        fields=["Title", "Worldwide Gross"],
    )


@step("GetMerged", by="get_merged_page")
def dramas_of_bob(bob: Client) -> Any:
    """List the same for Bob, who does not see her draft."""
    return bob.get_merged_page(
        "movies",
        filter='"Major Genre" = "Drama"',
        order_by='"Worldwide Gross" desc',
        page_size=4,
        include_total_size=True,
        fields=["Title", "Worldwide Gross"],
    )


@step("GetStatistics", by="statistics")
def gross_of_ada(ada: Client) -> Any:
    """Sum the gross of each genre: of the stored films, with her draft, and the difference."""
    return ada.statistics(
        "movies",
        measures=["count", "sum(/Worldwide Gross)"],
        group_by=["/Major Genre"],
        order_by=["sum(/Worldwide Gross) desc"],
        limit=3,
    )


@step("SaveDraft")
def draft_more(ada: Client) -> Any:
    """Save a second edit, which is composed with the first. It may consist of operations."""
    return ada.save_draft(
        "movies",
        "titanic-dec-19-1997",
        operations=[op.union("/Tags", ["ship", "iceberg"])],
        fields=["Major Genre", "Tags"],
    )


@step("SaveDraft")
def draft_creation(ada: Client) -> Any:
    """Draft a new film."""
    return ada.save_draft(
        "movies",
        "titanic-ii-aug-07-2010",
        create={"Title": "Titanic II", "Major Genre": "Drama", "Production Budget": 500000},
    )


@step("SaveDraft")
def draft_deletion(ada: Client) -> Any:
    """Draft the deletion of a film. Other users still see it."""
    return ada.save_draft(
        "movies",
        "twilight-nov-21-2008",
        delete=True,
        fields=["Title"],
    )


@step("GetMerged")
def pending(ada: Client) -> Any:
    """List all of her pending drafts."""
    return list(ada.get_merged("movies", view="drafts_only", fields=["Title", "Major Genre"]))


@step("Commit")
def preview(ada: Client) -> Any:
    """Preview a commit: return exactly what it would write, without writing."""
    return ada.commit(
        "movies",
        all=True,
        validate_only=True,
        fields=["Title", "Major Genre", "Tags"],
    )


@step("SaveDraft")
def draft_of_bob(bob: Client) -> Any:
    """Bob drafts two changes of the same film: another genre and a rating."""
    return bob.save_draft(
        "movies",
        "titanic-dec-19-1997",
        {"Major Genre": "Romantic Comedy", "IMDB Rating": 7.9},
        fields=["Major Genre", "IMDB Rating"],
    )


@step("Commit")
def commit_of_bob(bob: Client) -> Any:
    """Bob commits first."""
    return bob.commit("movies", record_ids=["titanic-dec-19-1997"])


@step("GetMerged")
def conflict_seen(ada: Client) -> Any:
    """Her list already has Bob's rating, and reports the conflict over the genre."""
    return list(
        ada.get_merged(
            "movies",
            record_ids=["titanic-dec-19-1997"],
            fields=["Major Genre", "IMDB Rating", "Tags"],
        )
    )


@step("Commit", refusal=draftline.ConflictError)
def commit_rejected(ada: Client) -> Any:
    """Her commit fails as a whole and reports every path that both changed. Nothing is written."""
    return ada.commit("movies", all=True)


@step("Commit")
def keep_mine(ada: Client) -> Any:
    """Commit with KEEP_MINE: her genre is written, and Bob's rating stays."""
    return ada.commit(
        "movies",
        record_ids=["titanic-dec-19-1997"],
        conflict_policy="keep_mine",
        include_content=True,
        fields=["Major Genre", "IMDB Rating", "Tags"],
    )


@step("SaveDraft")
def draft_again(ada: Client) -> Any:
    """Ada drafts two fields of Jaws ..."""
    return ada.save_draft(
        "movies",
        "jaws-jun-20-1975",
        {"Major Genre": "Adventure", "MPAA Rating": "PG-13"},
        fields=["Major Genre", "MPAA Rating"],
    )


@step("PatchContent")
def patch_meanwhile(bob: Client) -> Any:
    """... and Bob patches one of them, without any draft."""
    return bob.patch_content(
        "movies",
        "jaws-jun-20-1975",
        {"Major Genre": "Thriller/Suspense"},
        fields=["Major Genre"],
    )


@step("Commit")
def keep_theirs(ada: Client) -> Any:
    """Commit with KEEP_THEIRS: Bob's genre stays, and the rest of her draft is written."""
    return ada.commit(
        "movies",
        record_ids=["jaws-jun-20-1975"],
        conflict_policy="keep_theirs",
        include_content=True,
        fields=["Major Genre", "MPAA Rating"],
    )


@step("ListDraftUsers")
def users(ada: Client) -> Any:
    """List the users that have drafts, as an administrator does."""
    return list(ada.list_draft_users())


@step("Discard")
def discard(ada: Client) -> Any:
    """Discard the remaining drafts: the creation and the deletion."""
    return ada.discard("movies", all=True)


@step("Commit", by="session")
def session(ada: Client) -> Any:
    """A session commits its edits together at the end of the block; an exception would discard them."""
    with ada.session("movies", change_reason="horror in space") as session:
        session.edit("alien-may-25-1979", {"Creative Type": "Space Horror"})
        session.edit("aliens-jul-18-1986", {"Creative Type": "Space Horror"})
        session.create("alien-romulus-2024", {"Title": "Alien: Romulus"})
    return session.results


@step("StreamMerged")
def stream(ada: Client) -> Any:
    """Stream the whole list in one call, of any length, with bounded memory."""
    films = ada.stream_merged("movies", fields=["Major Genre"])
    return Counter(film.content.get("Major Genre") for film in films).most_common(4)

"""Three layers of types: the collection spec, the contract generated from it, and a class of your own.

make serve                                      in one terminal
.venv/bin/python examples/typed_films.py        in another

Layer one is examples/contracts/movies.spec.json, which is put at the start. Layer two is examples/contracts/movies.py,
which is generated from it and never edited:

    draftline generate --collection movies --tenant typed --to examples/contracts/movies.py

With --check, this command fails in CI when the spec has changed. Layer three is the class Film below.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import draftline
from contracts.movies import Movie
from draftline import DeclaredField, SortKey

SPEC = Path(__file__).parent / "contracts" / "movies.spec.json"


@dataclass(kw_only=True)
class Film(Movie):
    """A film with the rules of this application."""

    @property
    def profit(self) -> int | None:
        if self.worldwide_gross is None or self.production_budget is None:
            return None
        return self.worldwide_gross - self.production_budget

    def tag(self, text: str) -> None:
        """Add a tag, once."""
        tags = [] if isinstance(self.tags, draftline.Unset) else self.tags
        self.tags = tags if text in tags else [*tags, text]


def put_spec(client: draftline.Client) -> None:
    """Put layer one, unless it is there."""
    spec = json.loads(SPEC.read_text())
    keys = [SortKey(key.removesuffix(" desc"), descending=key.endswith(" desc")) for key in spec["orders"][0]]
    fields = [DeclaredField(path, kind) for path, kind in spec["fields"].items()]
    client.put_collection("movies", fields=fields, orders=[keys], json_schema=spec["json_schema"])


def main(address: str) -> None:
    with draftline.Client(address, tenant_id="typed", user="ada") as client:
        put_spec(client)
        films = client.collection("movies", Film)
        alien = Film(
            title="Alien", worldwide_gross=203_630_630, production_budget=9_000_000,
            release_date="May 25 1979", major_genre="Horror/Thriller",
        )  # fmt: skip
        films.import_models([("alien", alien)])
        client.patch_content("movies", "alien", {"Studio": "Fox"})  # a key that the contract does not have

        film = films.get("alien")
        film.model.tag("classic")
        film.model.imdb_rating = 8.5
        saved = films.patch(film, change_reason="rated")
        print(f"{saved.model.title}: profit {saved.model.profit:,}, tags {saved.model.tags}")
        print(f"not in the contract, and kept: {saved.unknown_keys}, {saved.content['Studio']}")

        saved.model.major_genre = "Drama"
        films.save_draft(saved)
        dramas = films.records(filter='"Major Genre" = "Drama"', order_by='"Worldwide Gross" desc')
        print(f"in ada's drafts a drama: {[each.model.title for each in dramas]}")
        films.discard(all=True)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))

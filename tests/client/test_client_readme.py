"""The examples of client/README.md run in order, with only the address and a large number replaced."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from draftline import Client
from support import doc_examples

README = (Path(__file__).parent.parent.parent / "client" / "README.md").read_text()
FILMS = {
    "m-1": {"Title": "Alien", "Major Genre": "Horror"},
    "m-2": {"Title": "Jaws", "Major Genre": "Drama"},
    "m-5": {"Title": "Brazil", "Rating": 8},
}


def test_code_of_the_readme_works_as_it_is_written(server_address: str) -> None:
    tenant = f"tenant-{uuid.uuid4()}"
    first, *others = (
        doc_examples.at(code, server_address, **{'"acme"': f'"{tenant}"'})
        for code in doc_examples.blocks(README, "python")
    )
    names: dict[str, Any] = {"remember": lambda token: None, "session": SimpleNamespace(access_token="t")}
    doc_examples.run(first, names)
    assert len(others) == 9
    with Client(server_address, tenant_id=tenant, user="ada") as client:
        client.import_content("movies", FILMS.items())
        with Client(server_address, tenant_id=tenant, user="bob") as bob:
            bob.patch_content("movies", "m-1", {"Votes": 100})
        for code in others:
            names["client"] = client
            if ".watch(" in code:
                names["client"] = Client(server_address, tenant_id=tenant, user="ada")
                doc_examples.run_watch(code, names, client)
            else:
                doc_examples.run(code, names)

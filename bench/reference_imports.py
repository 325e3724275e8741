"""Measure imports of records that name others: with an unchecked relation, and with one that is checked."""

from __future__ import annotations

import time

from draftline import Client, DeclaredRelation, RelationIntegrity

from .environment import Environment
from .measurements import Measurements
from .records import records
from .sizes import Sizes

TENANT = "references"
MAKERS = "makers"
UNCHECKED, CHECKED = "ImportContent, a relation with an inverse", "ImportContent, the same relation, checked"
UNIT = "records/s"
FILMS_EACH = 10


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    count = sizes.imported
    makers = max(1, count // FILMS_EACH)
    films = [
        (record_id, {**content, "Maker": f"maker-{number % makers}"})
        for number, (record_id, content) in enumerate(records(count))
    ]
    with Client(environment.address, tenant_id=TENANT, token=environment.token([TENANT]), timeout=None) as client:
        client.import_content(MAKERS, ((f"maker-{number}", {"Name": f"{number}"}) for number in range(makers)))
        for number in range(sizes.rounds):
            for name, integrity in ((UNCHECKED, RelationIntegrity.NONE), (CHECKED, RelationIntegrity.CHECK)):
                collection = f"films_{integrity}_{number}"
                relation = DeclaredRelation("maker", "/Maker", MAKERS, inverse=collection, integrity=integrity)
                client.put_collection(collection, relations=[relation])
                client.wait_until_built(collection)
                began = time.perf_counter()
                client.import_content(collection, films)
                limit = UNCHECKED if name == CHECKED else ""
                measurements.add(name, UNIT, count / (time.perf_counter() - began), limit=limit)

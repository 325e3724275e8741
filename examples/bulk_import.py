"""Mirror another system every night: import a file of any size in one transaction, and write only changed records.

make serve                                  in one terminal
.venv/bin/python examples/bulk_import.py    in another
"""

from __future__ import annotations

import csv
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import draftline

ROWS = 10_000


def export(path: Path, night: int) -> None:
    """Write the file of the other system: each night, some prices change and a thousandth of the parts is replaced."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "name", "price"])
        for number in range(night * ROWS // 1000, ROWS + night * ROWS // 1000):
            writer.writerow([f"sku-{number:06}", f"Part {number}", number % 97 + (night if number % 10 == 0 else 0)])


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records while they are sent, so that memory does not grow with the file."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["sku"], {"name": row["name"], "price": int(row["price"])}


def main(address: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        draftline.Client(address, tenant_id="demo", user="mirror") as client,
        draftline.Client(address, tenant_id="demo", user="ada") as ada,
    ):
        path = Path(folder) / "parts.csv"
        parts = f"parts-{uuid.uuid4().hex[:8]}"  # another one at each run
        for night in range(3):
            export(path, night)
            done = client.import_content(parts, records(path), mode="snapshot", change_reason=f"night {night}")
            counts = done.inserted_count, done.updated_count, done.unchanged_count, done.deleted_count
            print("night {}: {:,} inserted, {:,} updated, {:,} unchanged, {:,} deleted".format(night, *counts))
            if night == 0:
                ada.save_draft(parts, "sku-001000", {"name": "Ada's part"})  # no import removes it
        mine = next(ada.get_merged(parts, record_ids=["sku-001000"]))
        print("ada sees:", mine.content)

        path.write_text("sku,name,price\nsku-000100,Part,7\nsku-000101,Part,seven\n")
        try:
            client.import_content(parts, records(path), mode="snapshot")
        except ValueError as error:
            print("a broken file:", error)
        page = client.get_merged_page(parts, page_size=1, include_total_size=True)
        print(f"still there: {page.total_size:,} parts")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))

"""The integrity of references that an import writes; see references.py."""

from __future__ import annotations

from ...domain.relations import MAX_NAMED
from ..advisory_locks import LockFamily
from ..collections.cache import CollectionSpecs
from ..transaction import Transaction
from .references import SQL, missing, referenced


class ImportedReferences:
    """Checks the references of imports, in their transactions, which hold the spec of the collection."""

    def __init__(self, specs: CollectionSpecs) -> None:
        self._specs = specs

    async def name(self, transaction: Transaction, values: dict[str, object]) -> None:
        """Store the references that an import adds, once it has locked the records and before it writes them."""
        if self._has_checks(values):
            await transaction.fetch(SQL["create_named"], {})
            await transaction.fetch(SQL["empty_named"], {})
            await transaction.fetch(SQL["name_imported"], values)

    async def check(self, transaction: Transaction, values: dict[str, object], *, deletes: bool) -> None:
        """Check what an import has written. `deletes`: its snapshot has deleted records.

        Raise ReferenceNotFoundError with the first record of the stream that names a missing record, or
        RecordReferencedError for a deleted record that another one names.
        """
        names = self._has_checks(values)
        restricts = deletes and (await transaction.fetch(SQL["is_referred_to"], values))[0]["is_referred_to"]
        if not names and not restricts:
            return
        await transaction.fetch(SQL["create_named"], {})
        locks = {**values, "id_lock": LockFamily.REFERENCES, "deletes": restricts, "limit": MAX_NAMED + 1}
        await transaction.fetch(SQL["lock_imported_references"], locks)
        for row in await transaction.fetch(SQL["missing_imported"], locks) if names else ():
            raise missing(row, str(values["collection"])).of_record(row["index"], row["record_id"], row["source"])
        for row in await transaction.fetch(SQL["referring_unlisted"], locks) if restricts else ():
            raise referenced(row)

    def _has_checks(self, values: dict[str, object]) -> bool:
        spec = self._specs.known(str(values["tenant_id"]), str(values["collection"]))
        return bool(spec.checked_relations())

"""The asyncio client, from which the blocking one in `draftline._sync` is generated."""

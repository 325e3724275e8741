"""The client for asyncio, from which the blocking one in `draftline._sync` is generated."""

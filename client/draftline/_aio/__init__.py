"""The parts of the client that need asyncio. `draftline._threads` has the same names for threads."""

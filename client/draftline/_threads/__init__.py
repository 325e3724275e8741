"""The parts of the client that need threads. `draftline._aio` has the same names for asyncio."""

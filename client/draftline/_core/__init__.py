"""The I/O-free core of the client, shared by the asyncio and the blocking client."""

"""JSON Schema checks, run in separate processes."""

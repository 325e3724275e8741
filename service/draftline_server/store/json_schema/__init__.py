"""JSON Schema, checked in processes of its own."""

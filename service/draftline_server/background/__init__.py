"""Batchers that let calls share statements, and work that runs without a call."""

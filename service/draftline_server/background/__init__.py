"""Batchers that let calls share statements, and tasks that run without a call."""

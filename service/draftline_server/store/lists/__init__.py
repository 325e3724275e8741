"""Merged lists: statements, sort orders and pages."""

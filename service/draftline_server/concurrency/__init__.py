"""Limits that are shared fairly among tenants."""

"""Syncs with systems of record: configurations, attempts, merges of answers, and states of records."""

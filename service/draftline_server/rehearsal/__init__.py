"""Rehearse a migration on a copy of the database, and complete it on the database itself."""

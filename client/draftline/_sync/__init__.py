# Generated from draftline/_async/__init__.py by `make generate`; never edited.
"""The blocking client."""

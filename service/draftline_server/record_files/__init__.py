"""Readers of the record files that `draftline import` accepts."""

"""Typed contracts: collection specs inferred from content, and models generated from collection specs."""

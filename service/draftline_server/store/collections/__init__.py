"""Specs of collections, their cache and their indexes."""

"""Metrics, access log, traces and logging."""

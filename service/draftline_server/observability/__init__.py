"""Metrics, access log, traces and the log itself."""

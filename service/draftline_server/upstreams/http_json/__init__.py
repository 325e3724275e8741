"""The connector to JSON APIs over HTTP, configured by JSON Pointers and URL templates."""

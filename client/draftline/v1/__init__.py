"""Generated from protos/draftline/v1 by `make generate`; never edited."""

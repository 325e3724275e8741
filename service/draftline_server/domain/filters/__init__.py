"""The filter language (AIP-160): grammar, parser and conditions."""

"""Reading the statistics of a collection."""

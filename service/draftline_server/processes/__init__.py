"""The supervisor, its workers, and the port that they share."""

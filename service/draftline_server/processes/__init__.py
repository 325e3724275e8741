"""The supervisor, its worker processes and their shared port."""

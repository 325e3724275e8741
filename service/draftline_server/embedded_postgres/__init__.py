"""The PostgreSQL that a service brings along."""

"""The PostgreSQL server that a service embeds."""

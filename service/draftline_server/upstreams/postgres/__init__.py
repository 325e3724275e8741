"""The connector to tables of a PostgreSQL database."""

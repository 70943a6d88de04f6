"""Everything that knows PostgreSQL: the embedded server, connections, tables, bulk loading, queries."""

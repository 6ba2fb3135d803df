"""Snapshots as real tables, for programs that know nothing of documents: Parquet, SQLite, SQL."""

"""Folders of exported tables in open formats (JSON Lines, CSV, Parquet): written, read back, and checked."""

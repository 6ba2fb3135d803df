"""Text and vector search: indexes beside the log, derived from it."""

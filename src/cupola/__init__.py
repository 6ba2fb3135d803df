"""Cupola: a transactional document database, the functions that run against it, and live sync."""

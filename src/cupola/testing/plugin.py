"""Fixtures that pytest finds by itself once Cupola is installed."""

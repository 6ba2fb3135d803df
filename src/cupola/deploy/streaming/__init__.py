"""Data that leaves and comes in as a stream of changes, for tools that mirror databases."""

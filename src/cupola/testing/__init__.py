"""Public helpers for testing apps: an in-process deployment with a manual clock."""

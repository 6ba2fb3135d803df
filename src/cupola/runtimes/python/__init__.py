"""Python functions: the determinism guard, the in-process time budget, and the search for
uninterruptible code."""

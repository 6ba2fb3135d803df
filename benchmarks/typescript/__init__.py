"""What functions in TypeScript cost: contexts, syscalls, whole calls, workers."""

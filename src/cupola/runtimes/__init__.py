"""Who executes functions: Python in process and in workers, TypeScript in workers."""

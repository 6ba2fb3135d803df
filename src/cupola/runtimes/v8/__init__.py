"""Functions in TypeScript and JavaScript: worker processes that drive V8 through Deno."""

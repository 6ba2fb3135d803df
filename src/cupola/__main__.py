"""`python -m cupola` is the `cupola` command."""

from cupola.cli import main

main()

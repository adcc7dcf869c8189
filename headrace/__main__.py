"""`python -m headrace` is the console script."""

from headrace.cli import main

main()

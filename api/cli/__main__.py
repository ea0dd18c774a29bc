"""`python -m api.cli`: the `winnow` command without its entry point. Knows only where that is."""

from api.cli import main

main()

"""`python -m draftline_server` is `draftline`."""

from .cli import main

main()

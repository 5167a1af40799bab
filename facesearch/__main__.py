"""`python -m facesearch` is `facesearch`."""

from facesearch.cli import main

main()

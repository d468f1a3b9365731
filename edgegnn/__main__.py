"""`python -m edgegnn`."""

from edgegnn.cli import main

main()

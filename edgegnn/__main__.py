"""`python -m edgegnn`."""

from edgegnn.cli.app import main

main()

"""`python -m edgegnn`."""

from edgegnn.cli.start import main

main()

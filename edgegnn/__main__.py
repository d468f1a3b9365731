"""`python -m edgegnn`."""

from edgegnn.start import main

main()

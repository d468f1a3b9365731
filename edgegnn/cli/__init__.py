"""The command line: one module a group of commands, shared options, and what is printed (`render`)."""

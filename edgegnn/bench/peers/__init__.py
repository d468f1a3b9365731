"""Runtimes that the benchmark compares with.

Each module has a function `open_model`, as `--runner module:function` takes one:

open_model(folder) -> opener        reads what belongs to the runtime: its libraries, and what it needs of the folder
opener(threads) -> session          reads the model: this is timed as opening, and its memory counts
session.run(names, inputs) -> list  one inference: arrays by name in, arrays out
"""

"""Graphs that a model makes from points itself: k nearest neighbours, neighbours within a radius, farthest points.

operators    what is computed, as operators that tracing keeps whole
functions    the functions of torch_cluster, on these operators
libraries    both in the place of torch_cluster's and pyg-lib's own while a model runs
"""

from edgegnn.tasks.points.libraries import point_graphs

__all__ = ["point_graphs"]

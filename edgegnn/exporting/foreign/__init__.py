"""Artifacts of ONNX files that another program wrote: prepared so that the rewrite rules find what they know.

sizes       which sizes are the same, through the arithmetic on shapes that exporters write
layouts     the ways in which exporters scatter and look up rows, as the ones that the rules know
prepare     from the file to what `edgegnn.exporting.capture` gives for a PyTorch model
roles       what each input belongs to: nodes, edges, graphs
"""

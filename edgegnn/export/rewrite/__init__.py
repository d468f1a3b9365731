"""Rewrite rules that put `ai.edgegnn` ops into an exported graph."""

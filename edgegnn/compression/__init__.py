"""Compression: open a trained model, prune it, quantize it, fine-tune it, in one plan."""

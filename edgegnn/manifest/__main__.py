"""Print the JSON Schema of `manifest.json`: `python -m edgegnn.manifest`."""

from __future__ import annotations

import sys

from edgegnn.manifest import manifest_schema

if __name__ == "__main__":
    sys.stdout.buffer.write(manifest_schema())

"""PyG writes Python source for every class of convolution to a temporary file, and leaves it there.

Importing this module gives these files a folder of their own, which is removed when the process ends.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import types

from torch_geometric import template

_folder = tempfile.mkdtemp(prefix="edgegnn-pyg-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_in_folder = functools.partial(tempfile.NamedTemporaryFile, dir=_folder)
template.tempfile = types.SimpleNamespace(NamedTemporaryFile=_in_folder)

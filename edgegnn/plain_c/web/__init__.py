"""`edgegnn export --format web`: the C form as WebAssembly, an ES module around it, and a page that runs the samples.

wasm        compiles the C form
module      model.mjs and model.d.ts
node        runs model.wasm in Node.js, for comparisons
samples     the shipped graphs as one block of bytes
page        index.html
form        all of it, for the export
proof       all of it, for `edgegnn verify`
assets/     the texts that the files are made of
"""

from __future__ import annotations

"""Serve an artifact over HTTP: needs numpy and onnxruntime, nothing else.

    python service.py model-dq-int8 8000
    curl -d '{"x": [[0.1, 0.2], [0.3, 0.4]], "edge_index": [[0, 1], [1, 0]]}' localhost:8000

It listens on this machine only. The kernels that the artifact carries run the model, in one thread for each request.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

artifact, port = Path(sys.argv[1]), int(sys.argv[2])
sys.path.insert(0, str(artifact / "run.pyz"))
from edgegnn import EdgeGNNError, runtime  # noqa: E402

model = runtime.open(artifact, threads=1)


class Handler(BaseHTTPRequestHandler):
    """Answer a graph in JSON with its logits."""

    def do_POST(self) -> None:
        """Run the model; what is wrong with a graph is an answer, too."""
        try:
            graph = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = 200, {"logits": model(**graph).tolist()}
        except (EdgeGNNError, ValueError, TypeError) as error:
            status, answer = 400, {"error": str(error)}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


print(f"{model} on http://127.0.0.1:{port}", flush=True)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

"""The HTTP server: `qa-onnx serve` (extra `serve`).

    settings.py    its limits and its model
    server.py      processes: one, or several that share a port
    protocol.py    a connection: size and time of heads
    middleware.py  each request: id, host (hosts.py), key (keys.py), body, client that goes away, log line, metrics
    endpoints.py   the paths: which are public, and what metrics call them
    app.py         the endpoints; schemas.py and results.py their JSON, bodies.py reads it, problems.py errors
    inference_protocol.py  the endpoints of the Open Inference Protocol; inference_schemas.py and tensors.py their
                   JSON and binary data
    document_files.py  POST /v1/documents: a file -> its text; document_schemas.py its JSON
    long_answers.py    a question of several documents, and progress; side_threads.py for what takes long
    pages.py       the pages; page/ the one at /, in parts
    service.py     the reader behind the endpoints
    ray_app.py     the same endpoints in replicas of Ray Serve (extra `ray`), without server.py and protocol.py

May import: everything of the run time. Left out: TLS, and limits on the connections and the rate of each client,
which a reverse proxy does well.
"""

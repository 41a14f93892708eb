"""The HTTP server: `qa-onnx serve` (extra `serve`).

    settings.py    limits and model
    protocol.py    a connection: what a slow client may hold up
    middleware.py  a request: id, log line, metrics; limits.py its key, its body, its client that goes away
    app.py         the endpoints; schemas.py what they read and write, problems.py how they refuse
    service.py     starting, ready, stopping; the reader behind the endpoints
    server.py      one process; supervisor.py several that share a port

May import: everything of the run time. Left out: TLS and rate limits for each client, which a reverse proxy does
well.
"""

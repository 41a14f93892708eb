"""Questions of many threads or tasks -> batches: `AsyncReader` and its worker threads.

May import: the files of the root, engines. Left out: HTTP (serve).
"""

"""Questions of many threads or tasks -> shared batches -> answers: `AsyncReader` and its worker threads.

May import: the files of the root. Read async_reader, workers, schedule, fair_queue, requests. Left out: HTTP
(serve).
"""

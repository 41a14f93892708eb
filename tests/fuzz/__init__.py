"""A fuzzer of everything that others may hand us; its findings are whatever is neither success nor a QaOnnxError.

    python -m tests.fuzz --seconds 3600 [--target NAME ...] [--seed N]     or: make fuzz SECONDS=3600
    python -m tests.fuzz --target NAME --input FILE                         run one input again

Reading order: mutation (how an input is changed), targets (what is done with it), worker (one process that runs a
target), supervisor (watches a worker, and collects what it finds).

An input comes from seeds that work: their JSON, Protocol Buffers or bytes are changed, at random by a seed. One
whose outcome is new joins the corpus, and is changed further. Left out: coverage of the code.
"""

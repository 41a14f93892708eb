"""The folder that a reader loads: graphs, tokenizer, manifest; and the runtime that suits this machine.

May import: engines, machine, and the files of the root before `steps`. Left out: writing one (export).
"""

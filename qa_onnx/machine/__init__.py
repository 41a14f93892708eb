"""This machine: cores, instruction sets, memory, installed packages, NVIDIA's driver and libraries, cache folder.

May import: errors. Left out: judging them (doctor).
"""

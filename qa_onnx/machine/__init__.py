"""This machine: cores, instruction sets, memory, files, installed packages, NVIDIA's driver and libraries.

May import: errors. Left out: judging them (doctor).
"""

"""What this machine has: cores, instruction sets, packages, NVIDIA's driver and libraries, a cache folder.

May import: errors. Left out: judging it (doctor).
"""

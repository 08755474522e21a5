"""Real machines for tests: hosts with an sshd, a network, a disk and a process table of their own, on one computer.

A host is a set of Linux namespaces around an overlay of the computer's operating system. It boots in a fraction of a
second, and its faults are real ones: the cable is pulled, the power goes, memory and disk run out. Needs root.
"""

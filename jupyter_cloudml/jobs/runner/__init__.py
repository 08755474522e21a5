"""Runs a notebook on a machine and says how it goes; sent there whole. Needs nbclient, and Python 3.9 or later."""

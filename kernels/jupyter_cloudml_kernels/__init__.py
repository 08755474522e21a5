"""Jupyter kernels that run on a machine: provisioner, relay, record of what was executed."""

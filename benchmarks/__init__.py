"""Measure remote kernels beside a local kernel and sshpyk, all in one run over a private SSH server."""

"""Datasets: an S3 prefix kept in a folder of a machine, and results sent back. The machine gets signed addresses, never a key."""

"""Machines: what they are, how they come and go, and the links to them."""

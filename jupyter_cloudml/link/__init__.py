"""The link to a machine: one byte stream to its agent, over a carrier."""

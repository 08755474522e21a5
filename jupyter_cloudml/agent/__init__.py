"""The agent: runs on a machine, owns its processes and journals what they say. Standard library only, Python >= 3.9."""

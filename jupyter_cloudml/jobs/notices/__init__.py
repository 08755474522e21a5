"""Tells people of the ends of runs: by mail, webhook and whatever apprise knows."""

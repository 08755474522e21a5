"""Code that follows a notebook: exact snapshots of a folder."""

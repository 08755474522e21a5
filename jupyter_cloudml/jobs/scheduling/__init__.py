"""The engine: who owns which run, what to do next with it, and what it relies on of what runs attempts."""

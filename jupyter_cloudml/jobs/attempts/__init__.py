"""What runs attempts on machines: started under the agent, read from their logs, kept after a failure."""

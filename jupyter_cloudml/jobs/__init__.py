"""Jobs: what is to run and when, and the scheduler that sees to it. Nothing runs a notebook yet."""

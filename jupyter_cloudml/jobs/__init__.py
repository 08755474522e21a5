"""Jobs: what is to run and when, the scheduler that sees to it, and what runs notebooks on machines."""

"""What a job is: its definition with every wrong field named, its triggers, when they fire, and jobs as files."""

"""Other schedulers' jobs as ours: a crontab with papermill lines, jupyter-scheduler."""

"""The notebooks of runs: parameters, what cells need, what a run says of them, the executed notebook."""

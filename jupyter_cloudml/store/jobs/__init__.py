"""Jobs, their triggers, runs and attempts as they are kept: one module for each thing that is done to them."""

"""Which variables and which steps are recorded."""

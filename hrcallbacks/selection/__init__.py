"""Which variables, and which steps."""

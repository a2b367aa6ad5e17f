"""What is recorded in a step."""

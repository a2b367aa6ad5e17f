"""What is recorded of a tensor: all of it, or a small tensor made in the step."""

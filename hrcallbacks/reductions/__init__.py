"""What is recorded of a tensor: all of it, or a summary computed inside the step."""

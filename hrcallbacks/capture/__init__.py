"""What is taken out of a training step, and how."""

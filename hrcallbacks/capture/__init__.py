"""Inside the training step: what is taken out of it, and how."""

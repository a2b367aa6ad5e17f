"""What receives records during training."""

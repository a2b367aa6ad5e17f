"""What differs between Keras' backends."""

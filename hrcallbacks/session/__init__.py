"""Everything around the steps of a fit, from Keras' hooks to the store."""

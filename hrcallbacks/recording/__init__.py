"""Recordings, and what is computed from them."""

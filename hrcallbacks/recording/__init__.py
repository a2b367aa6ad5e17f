"""Recordings, and what is made of their numbers."""

"""Where records are stored."""

"""The shell command `hrcallbacks`."""

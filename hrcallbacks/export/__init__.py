"""Recordings as tables, text and files of other tools."""

"""Doors to the outside: thin, and imported by nobody."""

"""Names and files: from a string to a network with weights."""

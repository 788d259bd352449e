"""From frames to clips: tensors only, no files."""

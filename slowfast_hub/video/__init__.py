"""From a video to the frames of a clip: which frames (sampling), their pixels (decode), both at once (clips)."""

"""Where the roads meet: a video and a network become an answer."""

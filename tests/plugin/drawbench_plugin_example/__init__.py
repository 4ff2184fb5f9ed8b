"""A third party's generator, metrics and prompt set."""

"""Who draws a run's images: this process, several of this machine, or this one's share of many machines' work."""

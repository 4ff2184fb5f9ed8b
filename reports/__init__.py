"""From runs on disk to a comparison, and from that to HTML, Markdown, JSON and a few lines for the terminal."""

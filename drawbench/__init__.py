"""A text-to-image benchmark centred on DrawBench: from prompts to images, scores with intervals, and a report."""

__version__ = "0.1.0"

"""People's judgements of images: studies, the rater app, and their analysis."""

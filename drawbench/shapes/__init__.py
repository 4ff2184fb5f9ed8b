"""The shapes world: scenes with a known truth, their captions, their pictures, and a checker that reads pictures back."""

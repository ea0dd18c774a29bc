"""Smaller, faster models: distil, prune, quantise, export; accuracy after each step."""

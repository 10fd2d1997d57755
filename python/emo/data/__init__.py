"""Samples, prompts and the rules that data sets keep."""

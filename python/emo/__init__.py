"""Find, measure and steer emotion in language models."""

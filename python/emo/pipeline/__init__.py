"""A run folder: stages that resume, settings that are checked; nothing numerical."""

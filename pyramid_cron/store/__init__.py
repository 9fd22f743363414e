"""The durable record of what was claimed and what became of it."""

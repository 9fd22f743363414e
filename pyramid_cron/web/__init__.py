"""The trigger as a Pyramid view."""

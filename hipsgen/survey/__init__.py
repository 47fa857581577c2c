"""How a survey lies on disk."""

"""Turning work into a survey."""

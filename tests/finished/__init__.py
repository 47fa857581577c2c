"""Surveys finished by an earlier release: today's commands have to work on them."""

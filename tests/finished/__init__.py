"""Surveys that an earlier release finished, kept to see that today's commands still work on them."""

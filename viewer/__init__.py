"""Serves HiPS surveys, with a page to look at them; reads finished files and writes none."""

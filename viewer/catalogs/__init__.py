"""Catalogs: tables of objects, queried by cone."""

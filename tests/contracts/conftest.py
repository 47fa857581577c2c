from tests.images.conftest import repository

__all__ = ["repository"]

from tests.builder.conftest import small_page

__all__ = ["small_page"]

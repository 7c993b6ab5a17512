from tests.quick import ranges_found_once

__all__ = ["ranges_found_once"]

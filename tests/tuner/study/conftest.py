from tests.quick import ranges_found_once, short_timings

__all__ = ["ranges_found_once", "short_timings"]

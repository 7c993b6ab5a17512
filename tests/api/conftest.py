from tests.quick import migrations_read_once, ranges_found_once, short_timings

__all__ = ["migrations_read_once", "ranges_found_once", "short_timings"]

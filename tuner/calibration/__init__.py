"""Feeds to statistics to ranges."""

"""What each runtime runs fast, as data."""

"""The study: space, trials, recovery. The only place with state."""

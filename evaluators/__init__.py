"""The user's metric, sessions, latency and size: everything that runs a model."""

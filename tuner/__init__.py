"""From a model file to a tuned model."""

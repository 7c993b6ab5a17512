"""Float model, ranges and a recipe to a candidate."""

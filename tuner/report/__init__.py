"""Tables, plots, HTML and result.json."""

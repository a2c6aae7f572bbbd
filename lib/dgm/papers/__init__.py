"""One module a paper: its model, its objective, its measurements."""

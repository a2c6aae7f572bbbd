"""The workshop that makes the book: chapters, results, figures, widgets and pages."""

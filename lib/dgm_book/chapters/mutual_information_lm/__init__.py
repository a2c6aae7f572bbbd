"""The chapter `mutual_information_lm`: its recipe, its runs, its claims, its page."""

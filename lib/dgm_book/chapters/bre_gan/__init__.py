"""The chapter `bre_gan`: its recipe, its runs, its claims, its page."""

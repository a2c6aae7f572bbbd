"""The chapter `rate_distortion`: its recipe, its runs, its claims, its page."""

"""The chapter `pooling_vae`: its recipe, its runs, its claims, its page."""

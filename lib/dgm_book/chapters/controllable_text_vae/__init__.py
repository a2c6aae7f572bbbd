"""The chapter `controllable_text_vae`: its recipe, its runs, its claims, its page."""

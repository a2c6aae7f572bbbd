"""The chapter `variational_hyper_rnn`: its recipe, its runs, its claims, its page."""

"""Samplers: Hamiltonian Monte Carlo, annealed importance sampling, temperature schedules."""

"""The embedded default world: a simulated tabletop, its data set and the small frozen checkpoint that goes with it.

Everything made here is SIMULATED and its grasp succeeds by construction: never a policy result.
"""

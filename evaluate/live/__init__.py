"""Answers beside the world: heads on frames, videos and pictures, from the cache or from the live backbone."""

"""The networks of Stable Diffusion 1.x, each readable alone."""

"""Networks and model objects: weights, devices, forward passes."""

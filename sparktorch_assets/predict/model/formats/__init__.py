"""Opens models in the formats that they come in, each as a `torch.nn.Module` or a model object."""

"""The networks as transformers models: configuration, denoiser, saving and pushing."""

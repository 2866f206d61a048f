"""The networks as transformers models: configuration, denoiser, and what is saved and pushed."""

"""Encoders of clean tokens to clean latents: trained with the model, or pretrained."""

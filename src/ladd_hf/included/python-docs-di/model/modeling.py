from ladd_hf import LaddForDiffusionLM

__all__ = ["LaddForDiffusionLM"]

from ladd_hf import LaddPipeline

__all__ = ["LaddPipeline"]

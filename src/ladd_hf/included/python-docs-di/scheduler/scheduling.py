from ladd_hf import LaddSequentialScheduler

__all__ = ["LaddSequentialScheduler"]

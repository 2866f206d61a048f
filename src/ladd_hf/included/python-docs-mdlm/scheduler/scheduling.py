from ladd_hf import LaddJointScheduler

__all__ = ["LaddJointScheduler"]

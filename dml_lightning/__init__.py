"""Deep metric learning on thermal drone imagery of waterfowl."""

__version__ = "0.1.0"

"""Simple and classical methods that predict the same redshifts, so that a model's scores can be judged."""

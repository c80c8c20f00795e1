"""Forecasts the device memory of a render from the shapes of its model: weights, caches and working memory."""

"""The decode loop, the sampler and the cache of loaded variants."""

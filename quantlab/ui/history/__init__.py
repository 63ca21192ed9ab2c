"""The tab of what was measured before."""

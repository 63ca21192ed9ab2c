"""What a page needs where strangers reach it: bounds, a login, health and metrics, and the GPU that a Space lends."""

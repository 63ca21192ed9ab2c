"""Devices, and the session protocol with its torch implementation."""

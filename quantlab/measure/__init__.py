"""Memory, time and the machine they were measured on. Definitions: docs/measurement.md."""

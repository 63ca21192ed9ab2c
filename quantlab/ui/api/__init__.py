"""What programs call: endpoints with names and types, which are tools for language models too. See docs/api.md."""

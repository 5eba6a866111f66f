"""Engines around the store, as they are: fetched by name, started on loopback, gone without a trace. See docs/engines.md."""

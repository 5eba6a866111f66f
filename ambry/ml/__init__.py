"""Typed features, snapshots, models and experiments on the store, by immutable id. The server knows nothing of them.

What is here stands on the client alone; what needs more says which extra to install.
"""

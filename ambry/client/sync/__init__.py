"""The blocking client, over blocking sockets: `transport`, `connection`, `pool`, `reader` and `waiting` by hand, the rest
generated from `../aio`.
"""

"""The blocking client, over blocking sockets: `reader`, `transport` and `waiting` by hand, the rest generated from `../aio`."""

"""The awaiting client, over aiohttp. Of every file but `reader`, `transport` and `waiting`, `../sync` is generated."""

"""What goes over the wire, as plain values: one file of requests and answers per resource; no I/O, shared by both clients.

Header names are lower-case throughout; header values are `str`, UTF-8 on the wire. Answers are judged, not trusted:
what does not look like an ambry frontend is a ProtocolViolation, because a 404 of some other server proves no absence.
"""

"""How we hear: bytes in, events out. Framing and the list/watch protocol are sans-IO; `stream` alone awaits."""

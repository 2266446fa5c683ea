"""Who acts: keyed workers. At most one task per key; everything is bounded."""

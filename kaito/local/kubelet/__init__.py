"""The kubelet: pods that are bound to our machines come to life, as stages without processes or as real processes."""

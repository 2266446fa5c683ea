"""Robots: the controllers that turn objects into nodes and processes. They act through KubeClient only."""

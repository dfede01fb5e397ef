"""Where the pod runs and what it is called: what Kubernetes itself understands."""

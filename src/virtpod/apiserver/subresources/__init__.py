"""One file per subresource: what it does to a VM or a VMI, once the caller may.

Each handler gets a `Call` and returns the HTTP answer, or raises `Refusal`.
"""

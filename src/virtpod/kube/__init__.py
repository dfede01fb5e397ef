"""Kubernetes without VMs: what any controller needs of an API server, and nothing of ours.

Pure values (the controllers' layer may import them): `plan`, `errors`, `resources`. The rest is
asyncio: `config` and `client` talk, `store` mirrors, `queue` and `loop` reconcile, `lease` elects,
`events` tells, `apply` installs, `serve` and `metrics` show, `log` writes.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

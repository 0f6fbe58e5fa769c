"""Stand-ins of the cloud's control plane: the real clients talk to them on loopback.

They check requests by the real messages and do the work with what the course has: a batch is a
spark-submit, a pipeline job is run by ``kfp.local``.
"""

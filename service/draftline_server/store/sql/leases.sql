-- name: try_lock
-- Take an advisory lock for the connection, unless another one holds it. Return whether it was taken. It is polled,
-- because an index build waits for every running statement, and so for a statement that waits for a lock.
SELECT pg_try_advisory_lock(CAST(:lock AS bigint)) AS locked

-- name: unlock
-- Release the lock of try_lock.
SELECT pg_advisory_unlock(CAST(:lock AS bigint))

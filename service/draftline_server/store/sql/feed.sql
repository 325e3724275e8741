-- name: log_horizon
-- Return how far the log can be read now, and how far it was dropped.
SELECT draftline.log_horizon() AS horizon, dropped_xact, dropped_id FROM draftline.change_log

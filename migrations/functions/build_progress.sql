-- The progress of builds of statistics, in the name of their session: others see that before the statement ends.

-- Count the records that a build has read, if the session is named `draftline statistic`, the id, the count, and the total.
-- It is called for one record in 256, and returns true. It changes only the name, and is STABLE so that the statement that
-- calls it is planned as without it.
CREATE OR REPLACE FUNCTION draftline.count_built(record_id text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    names text[] := string_to_array(current_setting('application_name'), ' ');
BEGIN
    IF names[1] = 'draftline' AND names[2] = 'statistic' THEN
        PERFORM set_config('application_name',
            format('draftline statistic %s %s %s', names[3], names[4]::bigint + 256, names[5]), true);
    END IF;
    RETURN true;
END $$;

-- Views for people and programs that ask in SQL. Their names are what others rely on; so are their columns,
-- to which later migrations only add. Tables are bound when a view is made, so any search path will do later.

-- How a bot did in one set. Totals are kept by triggers, so no result is read.
CREATE VIEW sgdb_views.bot_by_set AS
SELECT
    b.name AS bot,
    s.id AS benchmark_set_id,
    s.name AS benchmark_set,
    c.num_rows,
    c.num_cols,
    c.num_colors,
    s.base_seed,
    t.results AS games,
    t.completed,
    t.completed::float8 / t.results AS completion_rate,
    t.tiles_cleared_sum::float8 / t.results AS tiles_cleared_mean,
    CASE WHEN t.results > 1 THEN sqrt(
        (t.results * t.tiles_cleared_square_sum - t.tiles_cleared_sum::numeric * t.tiles_cleared_sum)
        / (t.results::numeric * (t.results - 1))
    )::float8 END AS tiles_cleared_stddev,
    t.tiles_cleared_sum::float8 / t.results / (c.num_rows * c.num_cols) AS tiles_share_mean,
    t.singles_remaining_sum::float8 / t.results AS singles_remaining_mean,
    t.moves_made_sum::float8 / t.results AS moves_made_mean
FROM result_totals t
JOIN bots b ON b.id = t.bot_id
JOIN benchmark_sets s ON s.id = t.benchmark_set_id
JOIN game_configs c ON c.id = s.config_id
WHERE t.results > 0;

COMMENT ON VIEW sgdb_views.bot_by_set IS
    'How every bot did in every benchmark set, as `sgdb query bot-performance` tells it: one row a bot and set.';
COMMENT ON COLUMN sgdb_views.bot_by_set.bot IS 'the bot''s name';
COMMENT ON COLUMN sgdb_views.bot_by_set.benchmark_set_id IS 'the set';
COMMENT ON COLUMN sgdb_views.bot_by_set.benchmark_set IS 'its name';
COMMENT ON COLUMN sgdb_views.bot_by_set.num_rows IS 'rows of its boards';
COMMENT ON COLUMN sgdb_views.bot_by_set.num_cols IS 'columns of its boards';
COMMENT ON COLUMN sgdb_views.bot_by_set.num_colors IS 'colours, the empty colour 0 included';
COMMENT ON COLUMN sgdb_views.bot_by_set.base_seed IS 'the seed that its boards follow from';
COMMENT ON COLUMN sgdb_views.bot_by_set.games IS 'games of the set that the bot has a result on';
COMMENT ON COLUMN sgdb_views.bot_by_set.completed IS 'how many of them it completed';
COMMENT ON COLUMN sgdb_views.bot_by_set.completion_rate IS 'the same as a part of them, from 0 to 1';
COMMENT ON COLUMN sgdb_views.bot_by_set.tiles_cleared_mean IS 'tiles cleared, mean of these games';
COMMENT ON COLUMN sgdb_views.bot_by_set.tiles_cleared_stddev IS
    'their standard deviation, that of a sample; NULL of a single game';
COMMENT ON COLUMN sgdb_views.bot_by_set.tiles_share_mean IS
    'tiles cleared as a part of the board''s cells, from 0 to 1, mean';
COMMENT ON COLUMN sgdb_views.bot_by_set.singles_remaining_mean IS 'singles remaining, mean';
COMMENT ON COLUMN sgdb_views.bot_by_set.moves_made_mean IS 'moves made, mean';

CREATE VIEW sgdb_views.bot_by_config AS
SELECT
    b.name AS bot,
    c.num_rows,
    c.num_cols,
    c.num_colors,
    count(*) AS benchmark_sets,
    sum(t.results)::bigint AS games,
    sum(t.completed)::bigint AS completed,
    sum(t.completed)::float8 / sum(t.results)::float8 AS completion_rate,
    sum(t.tiles_cleared_sum)::float8 / sum(t.results)::float8 AS tiles_cleared_mean,
    CASE WHEN sum(t.results) > 1 THEN sqrt(
        (sum(t.results) * sum(t.tiles_cleared_square_sum) - sum(t.tiles_cleared_sum) * sum(t.tiles_cleared_sum))
        / (sum(t.results) * (sum(t.results) - 1))
    )::float8 END AS tiles_cleared_stddev,
    sum(t.tiles_cleared_sum)::float8 / sum(t.results)::float8 / (c.num_rows * c.num_cols) AS tiles_share_mean,
    sum(t.singles_remaining_sum)::float8 / sum(t.results)::float8 AS singles_remaining_mean,
    sum(t.moves_made_sum)::float8 / sum(t.results)::float8 AS moves_made_mean
FROM result_totals t
JOIN bots b ON b.id = t.bot_id
JOIN benchmark_sets s ON s.id = t.benchmark_set_id
JOIN game_configs c ON c.id = s.config_id
WHERE t.results > 0
GROUP BY b.id, b.name, c.id, c.num_rows, c.num_cols, c.num_colors;

COMMENT ON VIEW sgdb_views.bot_by_config IS
    'How every bot did on boards of every shape, all sets together: one row a bot and shape. A board that stands in several sets counts as often.';
COMMENT ON COLUMN sgdb_views.bot_by_config.bot IS 'the bot''s name';
COMMENT ON COLUMN sgdb_views.bot_by_config.num_rows IS 'rows of the boards';
COMMENT ON COLUMN sgdb_views.bot_by_config.num_cols IS 'columns of the boards';
COMMENT ON COLUMN sgdb_views.bot_by_config.num_colors IS 'colours, the empty colour 0 included';
COMMENT ON COLUMN sgdb_views.bot_by_config.benchmark_sets IS 'sets of this shape that the bot has played in';
COMMENT ON COLUMN sgdb_views.bot_by_config.games IS 'games that it has a result on';
COMMENT ON COLUMN sgdb_views.bot_by_config.completed IS 'how many of them it completed';
COMMENT ON COLUMN sgdb_views.bot_by_config.completion_rate IS 'the same as a part of them, from 0 to 1';
COMMENT ON COLUMN sgdb_views.bot_by_config.tiles_cleared_mean IS 'tiles cleared, mean of these games';
COMMENT ON COLUMN sgdb_views.bot_by_config.tiles_cleared_stddev IS
    'their standard deviation, that of a sample; NULL of a single game';
COMMENT ON COLUMN sgdb_views.bot_by_config.tiles_share_mean IS
    'tiles cleared as a part of the board''s cells, from 0 to 1, mean';
COMMENT ON COLUMN sgdb_views.bot_by_config.singles_remaining_mean IS 'singles remaining, mean';
COMMENT ON COLUMN sgdb_views.bot_by_config.moves_made_mean IS 'moves made, mean';

CREATE VIEW sgdb_views.leaderboard AS
SELECT
    rank() OVER (
        PARTITION BY configs ORDER BY completion_rate DESC, tiles_share_mean DESC
    ) AS rank,
    bot,
    configs,
    games,
    completion_rate,
    tiles_share_mean
FROM (
    SELECT
        bot,
        string_agg(
            num_rows || 'x' || num_cols || 'x' || num_colors, ' ' ORDER BY num_rows, num_cols, num_colors
        ) AS configs,
        sum(games)::bigint AS games,
        avg(completion_rate) AS completion_rate,
        avg(tiles_share_mean) AS tiles_share_mean
    FROM sgdb_views.bot_by_config
    GROUP BY bot
) of_bots;

COMMENT ON VIEW sgdb_views.leaderboard IS
    'The bots ranked among those that have played the same shapes of board: one row a bot. Every shape has the same weight. All results count, whether the others have played these boards or not: where they have not, `sgdb query leaderboard` is the fair one. It also gives intervals.';
COMMENT ON COLUMN sgdb_views.leaderboard.rank IS
    'place among the bots with the same configs, by completion_rate, then tiles_share_mean; equal bots share it';
COMMENT ON COLUMN sgdb_views.leaderboard.bot IS 'the bot''s name';
COMMENT ON COLUMN sgdb_views.leaderboard.configs IS
    'the shapes that it has played, as in `4x6x4 5x5x3`: rows, columns, colours';
COMMENT ON COLUMN sgdb_views.leaderboard.games IS 'games that it has a result on';
COMMENT ON COLUMN sgdb_views.leaderboard.completion_rate IS
    'part of the games that it completed, from 0 to 1, mean of the shapes';
COMMENT ON COLUMN sgdb_views.leaderboard.tiles_share_mean IS
    'tiles cleared as a part of the board''s cells, from 0 to 1, mean of the shapes';

-- The names stand in the inner GROUP BY, so that a condition on them reaches the results' index.
CREATE VIEW sgdb_views.paired_differences AS
SELECT
    p.benchmark_set_id,
    p.num_rows,
    p.num_cols,
    p.num_colors,
    p.base_seed,
    p.bot_a,
    p.bot_b,
    m.metric,
    m.better,
    p.boards,
    m.wins,
    p.boards - m.higher - m.lower AS ties,
    m.losses,
    m.sum_a::float8 / p.boards AS mean_a,
    m.sum_b::float8 / p.boards AS mean_b,
    (m.sum_a - m.sum_b)::float8 / p.boards AS mean_difference,
    (m.wins + (p.boards - m.higher - m.lower)::float8 / 2) / p.boards AS improvement
FROM (
    SELECT
        s.id AS benchmark_set_id, c.num_rows, c.num_cols, c.num_colors, s.base_seed,
        first.name AS bot_a, second.name AS bot_b, count(*) AS boards,
        count(*) FILTER (WHERE a.tiles_cleared > b.tiles_cleared) AS tiles_higher,
        count(*) FILTER (WHERE a.tiles_cleared < b.tiles_cleared) AS tiles_lower,
        sum(a.tiles_cleared) AS tiles_a,
        sum(b.tiles_cleared) AS tiles_b,
        count(*) FILTER (WHERE a.completed AND NOT b.completed) AS completed_higher,
        count(*) FILTER (WHERE b.completed AND NOT a.completed) AS completed_lower,
        count(*) FILTER (WHERE a.completed) AS completed_a,
        count(*) FILTER (WHERE b.completed) AS completed_b,
        count(*) FILTER (WHERE a.singles_remaining > b.singles_remaining) AS singles_higher,
        count(*) FILTER (WHERE a.singles_remaining < b.singles_remaining) AS singles_lower,
        sum(a.singles_remaining) AS singles_a,
        sum(b.singles_remaining) AS singles_b,
        count(*) FILTER (WHERE a.moves_made > b.moves_made) AS moves_higher,
        count(*) FILTER (WHERE a.moves_made < b.moves_made) AS moves_lower,
        sum(a.moves_made) AS moves_a,
        sum(b.moves_made) AS moves_b
    FROM game_results a
    JOIN game_results b ON b.game_id = a.game_id AND b.bot_id <> a.bot_id
    JOIN bots first ON first.id = a.bot_id
    JOIN bots second ON second.id = b.bot_id
    JOIN games g ON g.id = a.game_id
    JOIN benchmark_sets s ON s.id = g.benchmark_set_id
    JOIN game_configs c ON c.id = s.config_id
    GROUP BY s.id, c.num_rows, c.num_cols, c.num_colors, s.base_seed, first.name, second.name
) p
CROSS JOIN LATERAL (
    VALUES
        ('tiles_cleared', 'more', p.tiles_higher, p.tiles_lower, p.tiles_higher, p.tiles_lower,
            p.tiles_a, p.tiles_b),
        ('completed', 'more', p.completed_higher, p.completed_lower, p.completed_higher, p.completed_lower,
            p.completed_a, p.completed_b),
        ('singles_remaining', 'fewer', p.singles_lower, p.singles_higher, p.singles_higher, p.singles_lower,
            p.singles_a, p.singles_b),
        ('moves_made', NULL, NULL, NULL, p.moves_higher, p.moves_lower, p.moves_a, p.moves_b)
) m (metric, better, wins, losses, higher, lower, sum_a, sum_b);

COMMENT ON VIEW sgdb_views.paired_differences IS
    'Two bots on the boards of a set that both have played, as `sgdb query compare A B --set ID` counts them: one row a set, pair, order and metric. It reads the results of both bots, so name at least one of them: WHERE bot_a = ''...''.';
COMMENT ON COLUMN sgdb_views.paired_differences.benchmark_set_id IS 'the set';
COMMENT ON COLUMN sgdb_views.paired_differences.num_rows IS 'rows of its boards';
COMMENT ON COLUMN sgdb_views.paired_differences.num_cols IS 'columns of its boards';
COMMENT ON COLUMN sgdb_views.paired_differences.num_colors IS 'colours, the empty colour 0 included';
COMMENT ON COLUMN sgdb_views.paired_differences.base_seed IS 'the seed that its boards follow from';
COMMENT ON COLUMN sgdb_views.paired_differences.bot_a IS 'the bot whose wins are counted';
COMMENT ON COLUMN sgdb_views.paired_differences.bot_b IS 'the bot that it is compared with';
COMMENT ON COLUMN sgdb_views.paired_differences.metric IS
    '`tiles_cleared`, `completed`, `singles_remaining` or `moves_made`';
COMMENT ON COLUMN sgdb_views.paired_differences.better IS
    'which way is better: `more` or `fewer`; NULL of moves made, of which no number is';
COMMENT ON COLUMN sgdb_views.paired_differences.boards IS 'boards that both have played';
COMMENT ON COLUMN sgdb_views.paired_differences.wins IS 'boards on which bot_a did better; NULL of moves made';
COMMENT ON COLUMN sgdb_views.paired_differences.ties IS 'boards on which both have the same value';
COMMENT ON COLUMN sgdb_views.paired_differences.losses IS 'boards on which bot_b did better; NULL of moves made';
COMMENT ON COLUMN sgdb_views.paired_differences.mean_a IS
    'bot_a''s mean over these boards; of `completed`, the part of them that it completed';
COMMENT ON COLUMN sgdb_views.paired_differences.mean_b IS 'bot_b''s';
COMMENT ON COLUMN sgdb_views.paired_differences.mean_difference IS 'the mean of bot_a''s value minus bot_b''s';
COMMENT ON COLUMN sgdb_views.paired_differences.improvement IS
    'the part of the boards on which bot_a did better, ties counting half; NULL of moves made';

CREATE VIEW sgdb_views.set_difficulty AS
SELECT
    s.id AS benchmark_set_id,
    s.name AS benchmark_set,
    c.num_rows,
    c.num_cols,
    c.num_colors,
    s.base_seed,
    coalesce(g.games, 0) AS games,
    count(t.bot_id) AS bots,
    coalesce(sum(t.results), 0)::bigint AS results,
    sum(t.completed)::float8 / sum(t.results)::float8 AS completion_rate,
    avg(t.completed::float8 / t.results) AS completion_rate_of_bots,
    max(t.completed::float8 / t.results) AS best_completion_rate,
    sum(t.tiles_cleared_sum)::float8 / sum(t.results)::float8 / (c.num_rows * c.num_cols) AS tiles_share_mean,
    sum(t.singles_remaining_sum)::float8 / sum(t.results)::float8 AS singles_remaining_mean
FROM benchmark_sets s
JOIN game_configs c ON c.id = s.config_id
LEFT JOIN game_totals g ON g.benchmark_set_id = s.id
LEFT JOIN result_totals t ON t.benchmark_set_id = s.id AND t.results > 0
GROUP BY s.id, s.name, c.num_rows, c.num_cols, c.num_colors, s.base_seed, g.games;

COMMENT ON VIEW sgdb_views.set_difficulty IS
    'How hard the boards of every set are, as far as bots have shown: one row a set.';
COMMENT ON COLUMN sgdb_views.set_difficulty.benchmark_set_id IS 'the set';
COMMENT ON COLUMN sgdb_views.set_difficulty.benchmark_set IS 'its name';
COMMENT ON COLUMN sgdb_views.set_difficulty.num_rows IS 'rows of its boards';
COMMENT ON COLUMN sgdb_views.set_difficulty.num_cols IS 'columns of its boards';
COMMENT ON COLUMN sgdb_views.set_difficulty.num_colors IS 'colours, the empty colour 0 included';
COMMENT ON COLUMN sgdb_views.set_difficulty.base_seed IS 'the seed that its boards follow from';
COMMENT ON COLUMN sgdb_views.set_difficulty.games IS 'boards that are stored';
COMMENT ON COLUMN sgdb_views.set_difficulty.bots IS 'bots that have results on them';
COMMENT ON COLUMN sgdb_views.set_difficulty.results IS 'their results';
COMMENT ON COLUMN sgdb_views.set_difficulty.completion_rate IS
    'part of these results that is completed, from 0 to 1; NULL where there are none, as in the columns after it';
COMMENT ON COLUMN sgdb_views.set_difficulty.completion_rate_of_bots IS
    'the mean of the bots'' own rates: a bot that has played few boards has the same say';
COMMENT ON COLUMN sgdb_views.set_difficulty.best_completion_rate IS 'the best bot''s rate';
COMMENT ON COLUMN sgdb_views.set_difficulty.tiles_share_mean IS
    'tiles cleared as a part of the board''s cells, from 0 to 1, mean of the results';
COMMENT ON COLUMN sgdb_views.set_difficulty.singles_remaining_mean IS 'singles remaining, mean of the results';

-- Metrics are whatever a program has logged. Numbers that JSON has not stand as {"$float": "nan"}; what no
-- double holds is left out, or one odd value would keep everybody from reading the rest.
CREATE VIEW sgdb_views.learning_curve AS
SELECT
    s.id AS session_id,
    s.name AS session,
    b.name AS bot,
    k.id AS checkpoint_id,
    k.epoch,
    m.key AS metric,
    v.value,
    k.created_at
FROM model_checkpoints k
JOIN training_sessions s ON s.id = k.training_session_id
JOIN bots b ON b.id = s.bot_id
CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(k.metrics) WHEN 'object' THEN k.metrics ELSE '{}' END) m
CROSS JOIN LATERAL (
    SELECT CASE jsonb_typeof(m.value) WHEN 'number' THEN m.value #>> '{}' WHEN 'object' THEN m.value ->> '$float' END
        AS spelled
) w
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN w.spelled IN ('nan', 'inf', '-inf') THEN w.spelled::float8
        WHEN length(w.spelled) > 1000 OR w.spelled !~ '^-?[0-9]+([.][0-9]+)?(e[+-]?[0-9]{1,3})?$' THEN NULL
        WHEN w.spelled::numeric = 0 OR abs(w.spelled::numeric) BETWEEN 1e-300 AND 1e300
            THEN w.spelled::numeric::float8
    END AS value
) v
WHERE v.value IS NOT NULL;

COMMENT ON VIEW sgdb_views.learning_curve IS
    'The numbers that trainings have logged: one row a checkpoint and metric. Metrics that are no numbers are left out, and so is what lies within another one.';
COMMENT ON COLUMN sgdb_views.learning_curve.session_id IS 'the training session';
COMMENT ON COLUMN sgdb_views.learning_curve.session IS 'its name; NULL where it has none';
COMMENT ON COLUMN sgdb_views.learning_curve.bot IS 'the bot that was trained';
COMMENT ON COLUMN sgdb_views.learning_curve.checkpoint_id IS 'the checkpoint';
COMMENT ON COLUMN sgdb_views.learning_curve.epoch IS 'its epoch';
COMMENT ON COLUMN sgdb_views.learning_curve.metric IS 'the metric''s name';
COMMENT ON COLUMN sgdb_views.learning_curve.value IS 'its value, NaN and the infinities included';
COMMENT ON COLUMN sgdb_views.learning_curve.created_at IS 'when the checkpoint was stored';

CREATE VIEW sgdb_views.checkpoint_benchmarks AS
SELECT
    s.id AS session_id,
    s.name AS session,
    k.id AS checkpoint_id,
    k.epoch,
    b.name AS bot,
    b.version AS bot_version,
    r.id AS benchmark_set_id,
    c.num_rows,
    c.num_cols,
    c.num_colors,
    r.base_seed,
    t.results AS games,
    t.completed,
    t.completed::float8 / t.results AS completion_rate,
    t.tiles_cleared_sum::float8 / t.results AS tiles_cleared_mean,
    t.tiles_cleared_sum::float8 / t.results / (c.num_rows * c.num_cols) AS tiles_share_mean,
    t.singles_remaining_sum::float8 / t.results AS singles_remaining_mean,
    t.moves_made_sum::float8 / t.results AS moves_made_mean
FROM bots b
JOIN model_checkpoints k ON k.id = b.checkpoint_id
JOIN training_sessions s ON s.id = k.training_session_id
JOIN result_totals t ON t.bot_id = b.id AND t.results > 0
JOIN benchmark_sets r ON r.id = t.benchmark_set_id
JOIN game_configs c ON c.id = r.config_id;

COMMENT ON VIEW sgdb_views.checkpoint_benchmarks IS
    'How checkpoints did in benchmark sets: one row a bot that is the agent as of a checkpoint, and set.';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.session_id IS 'the training session';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.session IS 'its name; NULL where it has none';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.checkpoint_id IS 'the checkpoint';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.epoch IS 'its epoch';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.bot IS 'the bot that is this checkpoint';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.bot_version IS 'its version';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.benchmark_set_id IS 'the set';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.num_rows IS 'rows of its boards';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.num_cols IS 'columns of its boards';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.num_colors IS 'colours, the empty colour 0 included';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.base_seed IS 'the seed that its boards follow from';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.games IS 'games of the set that the bot has a result on';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.completed IS 'how many of them it completed';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.completion_rate IS 'the same as a part of them, from 0 to 1';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.tiles_cleared_mean IS 'tiles cleared, mean of these games';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.tiles_share_mean IS
    'tiles cleared as a part of the board''s cells, from 0 to 1, mean';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.singles_remaining_mean IS 'singles remaining, mean';
COMMENT ON COLUMN sgdb_views.checkpoint_benchmarks.moves_made_mean IS 'moves made, mean';

CREATE VIEW sgdb_views.data_growth AS
SELECT
    kind,
    day,
    added,
    sum(added) OVER (PARTITION BY kind ORDER BY day)::bigint AS total
FROM (
    SELECT 'sets' AS kind, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS added
    FROM benchmark_sets GROUP BY 2
    UNION ALL
    SELECT 'games', (created_at AT TIME ZONE 'UTC')::date, count(*) FROM games GROUP BY 2
    UNION ALL
    SELECT 'results', (created_at AT TIME ZONE 'UTC')::date, count(*) FROM game_results GROUP BY 2
    UNION ALL
    SELECT 'histories', (created_at AT TIME ZONE 'UTC')::date, count(*) FROM game_histories GROUP BY 2
    UNION ALL
    SELECT 'checkpoints', (created_at AT TIME ZONE 'UTC')::date, count(*) FROM model_checkpoints GROUP BY 2
    UNION ALL
    SELECT 'original bytes', (created_at AT TIME ZONE 'UTC')::date, sum(size_bytes)::bigint
    FROM archives GROUP BY 2
    UNION ALL
    SELECT 'checkpoint bytes', (created_at AT TIME ZONE 'UTC')::date, sum(size_bytes)::bigint
    FROM blobs GROUP BY 2
) days;

COMMENT ON VIEW sgdb_views.data_growth IS
    'How much of what was added on which day, and how much there was then of what is still there: one row a kind and day. It reads the tables of the kinds that are asked for: WHERE kind = ''...'' spares the others.';
COMMENT ON COLUMN sgdb_views.data_growth.kind IS
    '`sets`, `games`, `results`, `histories`, `checkpoints`, `original bytes` (of archived pickles, before compression) or `checkpoint bytes` (of weights and optimizer states)';
COMMENT ON COLUMN sgdb_views.data_growth.day IS 'the day, in UTC; days without any are absent';
COMMENT ON COLUMN sgdb_views.data_growth.added IS 'how many, or how many bytes, were stored on it';
COMMENT ON COLUMN sgdb_views.data_growth.total IS 'how many until its end';

CREATE VIEW sgdb_views.lineage AS
SELECT
    r.id AS result_id,
    r.game_id,
    g.benchmark_set_id,
    g.game_index,
    b.id AS bot_id,
    b.name AS bot,
    b.bot_type,
    b.version AS bot_version,
    k.id AS checkpoint_id,
    k.epoch,
    k.weights_sha256,
    s.id AS session_id,
    s.name AS session,
    s.uid AS session_uid,
    f.run_id,
    CASE WHEN f.status <> 'saved' THEN f.path END AS source_file,
    r.created_at
FROM game_results r
JOIN games g ON g.id = r.game_id
JOIN bots b ON b.id = r.bot_id
LEFT JOIN model_checkpoints k ON k.id = b.checkpoint_id
LEFT JOIN training_sessions s ON s.id = k.training_session_id
LEFT JOIN source_files f ON f.id = r.source_file_id;

COMMENT ON VIEW sgdb_views.lineage IS
    'Where every result comes from: bot, version, checkpoint, training session; and the file that brought it: one row a result.';
COMMENT ON COLUMN sgdb_views.lineage.result_id IS 'the result';
COMMENT ON COLUMN sgdb_views.lineage.game_id IS 'the game that it is on';
COMMENT ON COLUMN sgdb_views.lineage.benchmark_set_id IS 'the game''s set';
COMMENT ON COLUMN sgdb_views.lineage.game_index IS 'the game''s number in the set, from 0';
COMMENT ON COLUMN sgdb_views.lineage.bot_id IS 'the bot';
COMMENT ON COLUMN sgdb_views.lineage.bot IS 'its name';
COMMENT ON COLUMN sgdb_views.lineage.bot_type IS 'its kind, such as `rule_based` or `dqn`';
COMMENT ON COLUMN sgdb_views.lineage.bot_version IS 'its version';
COMMENT ON COLUMN sgdb_views.lineage.checkpoint_id IS
    'the checkpoint that the bot is; NULL where it is none, as are the columns down to session_uid';
COMMENT ON COLUMN sgdb_views.lineage.epoch IS 'the checkpoint''s epoch';
COMMENT ON COLUMN sgdb_views.lineage.weights_sha256 IS 'the SHA-256 of its weights';
COMMENT ON COLUMN sgdb_views.lineage.session_id IS 'the training session that it is from';
COMMENT ON COLUMN sgdb_views.lineage.session IS 'the session''s name';
COMMENT ON COLUMN sgdb_views.lineage.session_uid IS 'the number that the training program gave it';
COMMENT ON COLUMN sgdb_views.lineage.run_id IS 'the run that brought the result, or let programs store it';
COMMENT ON COLUMN sgdb_views.lineage.source_file IS
    'the path of the file that brought it; NULL where a program stored it';
COMMENT ON COLUMN sgdb_views.lineage.created_at IS 'when the result was stored';

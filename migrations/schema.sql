-- The schema of veupath-store as it stands after all migrations, for people to read.
-- The migrations in migrations/store are its source; tests/migration compares the two, object by object.
-- Needs PostgreSQL 15 or later (ON DELETE SET NULL with a column list).

CREATE TABLE users (
    id          uuid PRIMARY KEY,
    external_id varchar(255) CONSTRAINT users_external_id_key UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE gene_sets (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL CONSTRAINT gene_sets_user_fkey REFERENCES users ON DELETE CASCADE,
    site_id         varchar(100) NOT NULL,
    name            varchar(255) NOT NULL,
    gene_ids        jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT gene_sets_gene_ids_check CHECK (jsonb_typeof(gene_ids) = 'array'),
    source          varchar(20) NOT NULL DEFAULT 'paste'
        CONSTRAINT gene_sets_source_check CHECK (source IN ('strategy', 'paste', 'upload', 'derived', 'saved')),
    wdk_strategy_id bigint,
    wdk_step_id     bigint,
    search_name     varchar(255),
    record_type     varchar(100),
    parameters      jsonb,
    parent_set_ids  jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT gene_sets_parent_set_ids_check CHECK (jsonb_typeof(parent_set_ids) = 'array'),
    operation       varchar(20),
    step_count      integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    version         integer NOT NULL DEFAULT 1,
    gene_count      integer GENERATED ALWAYS AS
        (CASE WHEN jsonb_typeof(gene_ids) = 'array' THEN jsonb_array_length(gene_ids) END) STORED,
    -- What a projection's link refers to: a set and its owner, so that nobody links another user's set.
    CONSTRAINT gene_sets_owner_key UNIQUE (user_id, id)
);
CREATE INDEX gene_sets_list_idx ON gene_sets (user_id, created_at DESC, id DESC);
CREATE INDEX gene_sets_site_list_idx ON gene_sets (user_id, site_id, created_at DESC, id DESC);
CREATE INDEX gene_sets_wdk_idx ON gene_sets (user_id, wdk_strategy_id) WHERE wdk_strategy_id IS NOT NULL;
CREATE INDEX gene_sets_gene_ids_idx ON gene_sets USING gin (gene_ids jsonb_ops);

CREATE TABLE control_sets (
    id               uuid PRIMARY KEY,
    user_id          uuid CONSTRAINT control_sets_user_fkey REFERENCES users ON DELETE SET NULL,
    name             varchar(255) NOT NULL,
    site_id          varchar(100) NOT NULL,
    record_type      varchar(100) NOT NULL,
    positive_ids     jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT control_sets_positive_ids_check CHECK (jsonb_typeof(positive_ids) = 'array'),
    negative_ids     jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT control_sets_negative_ids_check CHECK (jsonb_typeof(negative_ids) = 'array'),
    source           varchar(50),
    tags             jsonb NOT NULL DEFAULT '[]'
        CONSTRAINT control_sets_tags_check CHECK (jsonb_typeof(tags) = 'array'),
    provenance_notes text,
    version          integer NOT NULL DEFAULT 1,
    is_public        boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    -- A set that the application ships; known by its site and name, and upserted by them.
    is_seed          boolean NOT NULL DEFAULT false
        CONSTRAINT control_sets_seed_check CHECK (NOT is_seed OR (is_public AND user_id IS NULL)),
    positive_count   integer GENERATED ALWAYS AS
        (CASE WHEN jsonb_typeof(positive_ids) = 'array' THEN jsonb_array_length(positive_ids) END) STORED,
    negative_count   integer GENERATED ALWAYS AS
        (CASE WHEN jsonb_typeof(negative_ids) = 'array' THEN jsonb_array_length(negative_ids) END) STORED
);
CREATE UNIQUE INDEX control_sets_seed_key ON control_sets (user_id, site_id, name) NULLS NOT DISTINCT
    WHERE is_seed;
CREATE INDEX control_sets_positive_ids_idx ON control_sets USING gin (positive_ids jsonb_ops);
CREATE INDEX control_sets_negative_ids_idx ON control_sets USING gin (negative_ids jsonb_ops);
CREATE INDEX control_sets_public_idx ON control_sets (site_id, created_at DESC, id DESC) WHERE is_public;
CREATE INDEX control_sets_own_idx ON control_sets (user_id, site_id, created_at DESC, id DESC);
CREATE INDEX control_sets_tags_idx ON control_sets USING gin (tags jsonb_ops);

CREATE TABLE experiments (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL CONSTRAINT experiments_user_fkey REFERENCES users ON DELETE CASCADE,
    site_id      varchar(100) NOT NULL,
    name         varchar(255) NOT NULL DEFAULT '',
    status       varchar(20) NOT NULL DEFAULT 'pending',
    data         jsonb NOT NULL
        CONSTRAINT experiments_data_check CHECK (jsonb_typeof(data) = 'object'),
    batch_id     varchar(50),
    benchmark_id varchar(50),
    created_at   timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at   timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    version      integer NOT NULL DEFAULT 1,
    -- The one that its benchmark is named after.
    is_primary   boolean NOT NULL DEFAULT false
);
CREATE INDEX experiments_list_idx ON experiments (user_id, updated_at DESC, id DESC);
CREATE INDEX experiments_site_list_idx ON experiments (user_id, site_id, updated_at DESC, id DESC);
CREATE INDEX experiments_batch_idx ON experiments (user_id, batch_id, created_at, id)
    WHERE batch_id IS NOT NULL;
CREATE INDEX experiments_benchmark_idx ON experiments (user_id, benchmark_id, (NOT is_primary), created_at, id)
    WHERE benchmark_id IS NOT NULL;

-- Every id that a user's documents have or had. A first save takes its id here, for good: the primary key
-- decides between two first saves, and between a delete and a save that comes late.
CREATE TABLE document_ids (
    user_id    uuid NOT NULL CONSTRAINT document_ids_user_fkey REFERENCES users ON DELETE CASCADE,
    kind       varchar(20) NOT NULL
        CONSTRAINT document_ids_kind_check CHECK (kind IN ('experiments', 'gene_sets')),
    id         uuid NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (user_id, kind, id)
);

CREATE TABLE streams (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL CONSTRAINT streams_user_fkey REFERENCES users ON DELETE CASCADE,
    site_id       varchar(50) NOT NULL,
    experiment_id uuid,
    created_at    timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    -- What projections and operations refer to: a stream and its owner, so that the two cannot differ.
    CONSTRAINT streams_owner_key UNIQUE (user_id, id)
);
-- One conversation for an experiment, also when two tabs open it at once.
CREATE UNIQUE INDEX streams_experiment_key ON streams (user_id, experiment_id)
    WHERE experiment_id IS NOT NULL;

CREATE TABLE stream_projections (
    stream_id              uuid PRIMARY KEY,
    user_id                uuid NOT NULL,
    site_id                varchar(50) NOT NULL,
    name                   varchar(255) NOT NULL,
    record_type            varchar(100),
    wdk_strategy_id        bigint,
    is_saved               boolean NOT NULL DEFAULT false,
    model_id               varchar(100),
    message_count          integer NOT NULL DEFAULT 0,
    step_count             integer NOT NULL DEFAULT 0,
    plan                   jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT stream_projections_plan_check CHECK (jsonb_typeof(plan) = 'object'),
    result_count           integer,
    last_event_id          varchar(41),
    updated_at             timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    dismissed_at           timestamptz,
    dismissed_reason       varchar(20),
    gene_set_id            uuid,
    gene_set_auto_imported boolean NOT NULL DEFAULT false,
    -- The steps of a strategy under construction, which has no root yet.
    unrooted_steps         jsonb,
    -- Messages up to this entry of the log are neither counted nor listed.
    messages_after         varchar(41),
    -- What the log has lost for good, if anything.
    lost                   jsonb,
    -- The columns that the log does not hold yet, each with the tag of the statement that set it.
    unlogged               jsonb NOT NULL DEFAULT '{"name":"w","record_type":"w",
            "wdk_strategy_id":"w","is_saved":"w","model_id":"w","message_count":"w","step_count":"w","plan":"w",
            "unrooted_steps":"w","result_count":"w","dismissed_at":"w","dismissed_reason":"w","gene_set_id":"w",
            "gene_set_auto_imported":"w","messages_after":"w"}',
    -- The last name of strategy `wdk_name_of` that was seen on the WDK server; it says nothing of another strategy.
    wdk_name               varchar(255),
    wdk_name_of            bigint,
    -- Raised by whatever changes the plan, or the steps that have no root.
    plan_version           integer NOT NULL DEFAULT 0,
    CONSTRAINT stream_projections_stream_fkey
        FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id) ON DELETE CASCADE,
    CONSTRAINT stream_projections_gene_set_fkey
        FOREIGN KEY (user_id, gene_set_id) REFERENCES gene_sets (user_id, id)
        ON DELETE SET NULL (gene_set_id),
    CONSTRAINT stream_projections_dismissed_check
        CHECK ((dismissed_at IS NULL) = (dismissed_reason IS NULL)
               AND dismissed_reason IN ('user', 'wdk_orphan', 'purge'))
);
CREATE UNIQUE INDEX stream_projections_name_key ON stream_projections (user_id, site_id, name);
CREATE UNIQUE INDEX stream_projections_wdk_key ON stream_projections (user_id, site_id, wdk_strategy_id)
    WHERE wdk_strategy_id IS NOT NULL;
CREATE INDEX stream_projections_wdk_idx ON stream_projections (user_id, wdk_strategy_id)
    WHERE wdk_strategy_id IS NOT NULL;
CREATE INDEX stream_projections_list_idx ON stream_projections (user_id, updated_at DESC, stream_id DESC)
    WHERE dismissed_at IS NULL;
CREATE INDEX stream_projections_site_list_idx
    ON stream_projections (user_id, site_id, updated_at DESC, stream_id DESC) WHERE dismissed_at IS NULL;
CREATE INDEX stream_projections_dismissed_idx ON stream_projections (user_id, dismissed_at DESC, stream_id DESC)
    WHERE dismissed_at IS NOT NULL;
CREATE INDEX stream_projections_site_dismissed_idx
    ON stream_projections (user_id, site_id, dismissed_at DESC, stream_id DESC) WHERE dismissed_at IS NOT NULL;
-- What the automatic import of gene sets has still to do.
CREATE INDEX stream_projections_import_idx ON stream_projections (user_id, site_id, stream_id)
    WHERE wdk_strategy_id IS NOT NULL AND dismissed_at IS NULL AND gene_set_id IS NULL
      AND NOT gene_set_auto_imported;
CREATE INDEX stream_projections_gene_set_idx ON stream_projections (user_id, gene_set_id)
    WHERE gene_set_id IS NOT NULL;
-- What catch-up looks for.
CREATE INDEX stream_projections_unlogged_idx ON stream_projections (stream_id)
    WHERE unlogged <> '{}' OR last_event_id IS NULL;

-- Events of the application that are part of a unit of work, until they are appended to the log.
CREATE TABLE stream_events (
    user_id      uuid NOT NULL,
    stream_id    uuid NOT NULL,
    key          uuid NOT NULL,
    number       bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    operation_id text NOT NULL,
    type         varchar(100) NOT NULL,
    data         text NOT NULL,
    PRIMARY KEY (user_id, stream_id, key),
    CONSTRAINT stream_events_stream_fkey
        FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id) ON DELETE CASCADE
);

CREATE TABLE operations (
    id                  uuid PRIMARY KEY,
    stream_id           uuid,
    user_id             uuid NOT NULL CONSTRAINT operations_user_fkey REFERENCES users ON DELETE CASCADE,
    type                varchar(50) NOT NULL,
    status              varchar(20) NOT NULL DEFAULT 'active'
        CONSTRAINT operations_status_check CHECK (status IN ('active', 'completed', 'failed', 'cancelled')),
    created_at          timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    completed_at        timestamptz,
    worker_id           varchar(255),
    lease_token         uuid,
    heartbeat_at        timestamptz,
    lease_expires_at    timestamptz,
    cancel_requested_at timestamptz,
    error               text,
    start_position      varchar(41),
    -- How often a worker took it, and how often one may: an expired lease is given to the next until then.
    attempts            integer NOT NULL DEFAULT 0,
    max_attempts        integer NOT NULL DEFAULT 1
        CONSTRAINT operations_max_attempts_check CHECK (max_attempts > 0),
    CONSTRAINT operations_stream_fkey
        FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id) ON DELETE CASCADE
);
CREATE INDEX operations_stream_idx ON operations (user_id, stream_id, status);
CREATE INDEX operations_list_idx ON operations (user_id, created_at DESC, id DESC);
CREATE INDEX operations_active_idx ON operations (user_id, created_at DESC, id DESC) WHERE status = 'active';
-- Two producers on one conversation would interleave.
CREATE UNIQUE INDEX operations_chat_key ON operations (user_id, stream_id)
    WHERE status = 'active' AND type IN ('chat', 'workbench_chat') AND stream_id IS NOT NULL;
-- For workers, which serve every user: what is waiting, oldest first, and whose lease has expired.
CREATE INDEX operations_waiting_idx ON operations (type, created_at, id)
    WHERE status = 'active' AND lease_token IS NULL;
CREATE INDEX operations_expiry_idx ON operations (lease_expires_at)
    WHERE status = 'active' AND lease_token IS NOT NULL;

-- Every conversation and operation that was deleted here: its log goes, and its id is never used again.
-- 'messages': a conversation that a purge has kept, without what was said in it.
CREATE TABLE deleted_ids (
    kind           varchar(20) NOT NULL
        CONSTRAINT deleted_ids_kind_check CHECK (kind IN ('stream', 'operation', 'messages')),
    id             uuid NOT NULL,
    deleted_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    log_removed_at timestamptz,
    PRIMARY KEY (kind, id)
);
CREATE INDEX deleted_ids_waiting_idx ON deleted_ids (deleted_at) WHERE log_removed_at IS NULL;

-- Deleting a user deletes what is theirs; a public control set stays, and the foreign key makes it nobody's.
CREATE FUNCTION delete_private_control_sets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM control_sets WHERE user_id = OLD.id AND NOT is_public;
    RETURN OLD;
END
$$;
CREATE TRIGGER users_delete_private_control_sets BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION delete_private_control_sets();

-- aerich's record of what was applied.
CREATE TABLE aerich (
    id      serial PRIMARY KEY,
    version varchar(255) NOT NULL,
    app     varchar(100) NOT NULL,
    content jsonb NOT NULL,
    -- aerich takes no lock: of two upgrades at once, the second fails here and is undone.
    CONSTRAINT aerich_version_key UNIQUE (app, version)
);

-- The legacy schema as create_all made it: NOT NULL, and no server default but now().
-- A line that ends with a revision belongs to the code of that revision and later ones.
CREATE TABLE users (
    id          char(36) NOT NULL,
    external_id varchar(255),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    UNIQUE (external_id)
);
CREATE TABLE control_sets (
    id               char(36) NOT NULL,
    user_id          char(36),
    name             varchar(255) NOT NULL,
    site_id          varchar(100) NOT NULL,
    record_type      varchar(100) NOT NULL,
    positive_ids     json NOT NULL,
    negative_ids     json NOT NULL,
    source           varchar(50),
    tags             json NOT NULL,
    provenance_notes text,
    version          integer NOT NULL,
    is_public        boolean NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE SET NULL
);
CREATE INDEX ix_control_sets_site_id ON control_sets (site_id);
CREATE INDEX ix_control_sets_user_id ON control_sets (user_id);
CREATE TABLE experiments (
    id           varchar(50) NOT NULL,
    site_id      varchar(100) NOT NULL,
    user_id      varchar(36),
    name         varchar(255) NOT NULL,
    status       varchar(20) NOT NULL,
    data         json NOT NULL,
    batch_id     varchar(50),
    benchmark_id varchar(50),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX ix_experiments_site_id ON experiments (site_id);
CREATE INDEX ix_experiments_user_id ON experiments (user_id);
CREATE INDEX ix_experiments_batch_id ON experiments (batch_id);
CREATE INDEX ix_experiments_benchmark_id ON experiments (benchmark_id);
CREATE TABLE gene_sets (
    id              varchar(50) NOT NULL,
    user_id         varchar(36),
    site_id         varchar(100) NOT NULL,
    name            varchar(255) NOT NULL,
    gene_ids        json NOT NULL,
    source          varchar(20) NOT NULL,
    wdk_strategy_id integer,
    wdk_step_id     integer,
    search_name     varchar(255),
    record_type     varchar(100),
    parameters      json,
    parent_set_ids  json NOT NULL,
    operation       varchar(20),
    step_count      integer NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX ix_gene_sets_user_id ON gene_sets (user_id);
CREATE INDEX ix_gene_sets_site_id ON gene_sets (site_id);
CREATE INDEX ix_gene_sets_user_site ON gene_sets (user_id, site_id);
CREATE TABLE streams (
    id            char(36) NOT NULL,
    user_id       char(36) NOT NULL,
    site_id       varchar(50) NOT NULL,
    experiment_id varchar(50), -- 87d93def2ccd
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX ix_streams_user_site ON streams (user_id, site_id);
CREATE INDEX ix_streams_user_experiment ON streams (user_id, experiment_id); -- 87d93def2ccd
CREATE TABLE stream_projections (
    stream_id              char(36) NOT NULL,
    name                   varchar(255) NOT NULL,
    record_type            varchar(100),
    wdk_strategy_id        integer,
    is_saved               boolean NOT NULL,
    model_id               varchar(100),
    message_count          integer NOT NULL,
    step_count             integer NOT NULL,
    plan                   json NOT NULL,
    steps                  json NOT NULL,
    root_step_id           varchar(100),
    result_count           integer,
    last_event_id          varchar(30),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    dismissed_at           timestamptz, -- b4e2f3a5d6c7
    site_id                varchar(50) NOT NULL,
    gene_set_id            varchar(50) REFERENCES gene_sets (id) ON DELETE SET NULL, -- a3f1b2c4d5e6
    gene_set_auto_imported boolean NOT NULL, -- a3f1b2c4d5e6
    PRIMARY KEY (stream_id),
    FOREIGN KEY (stream_id) REFERENCES streams (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX ix_proj_wdk ON stream_projections (wdk_strategy_id) WHERE wdk_strategy_id IS NOT NULL;
CREATE TABLE operations (
    operation_id varchar(32) NOT NULL,
    stream_id    char(36) NOT NULL,
    type         varchar(50) NOT NULL,
    status       varchar(20) NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    PRIMARY KEY (operation_id),
    FOREIGN KEY (stream_id) REFERENCES streams (id) ON DELETE CASCADE
);
CREATE INDEX ix_operations_stream_status ON operations (stream_id, status);

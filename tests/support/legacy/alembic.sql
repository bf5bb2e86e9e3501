-- The legacy schema as Alembic's migrations made it: whatever is no key may be null, with server defaults.
-- revision 6986444486d4
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE users (
    id          char(36) NOT NULL PRIMARY KEY,
    external_id varchar(255) UNIQUE,
    created_at  timestamptz DEFAULT now()
);
CREATE TABLE control_sets (
    id               char(36) NOT NULL PRIMARY KEY,
    user_id          char(36) REFERENCES users (id) ON DELETE SET NULL,
    name             varchar(255) DEFAULT '',
    site_id          varchar(100) DEFAULT '',
    record_type      varchar(100) DEFAULT '',
    positive_ids     json DEFAULT '[]',
    negative_ids     json DEFAULT '[]',
    source           varchar(50),
    tags             json DEFAULT '[]',
    provenance_notes text,
    version          integer DEFAULT 0,
    is_public        boolean DEFAULT false,
    created_at       timestamptz DEFAULT now()
);
CREATE INDEX ix_control_sets_site_id ON control_sets (site_id);
CREATE INDEX ix_control_sets_user_id ON control_sets (user_id);
CREATE TABLE experiments (
    id           varchar(50) NOT NULL PRIMARY KEY,
    site_id      varchar(100) DEFAULT '',
    user_id      varchar(36),
    name         varchar(255) DEFAULT '',
    status       varchar(20) DEFAULT '',
    data         json DEFAULT '{}',
    batch_id     varchar(50),
    benchmark_id varchar(50),
    created_at   timestamptz DEFAULT now(),
    updated_at   timestamptz DEFAULT now()
);
CREATE INDEX ix_experiments_site_id ON experiments (site_id);
CREATE INDEX ix_experiments_user_id ON experiments (user_id);
CREATE INDEX ix_experiments_batch_id ON experiments (batch_id);
CREATE INDEX ix_experiments_benchmark_id ON experiments (benchmark_id);
CREATE TABLE gene_sets (
    id              varchar(50) NOT NULL PRIMARY KEY,
    user_id         varchar(36),
    site_id         varchar(100) DEFAULT '',
    name            varchar(255) DEFAULT '',
    gene_ids        json DEFAULT '[]',
    source          varchar(20) DEFAULT '',
    wdk_strategy_id integer,
    wdk_step_id     integer,
    search_name     varchar(255),
    record_type     varchar(100),
    parameters      json,
    parent_set_ids  json DEFAULT '[]',
    operation       varchar(20),
    step_count      integer DEFAULT 0,
    created_at      timestamptz DEFAULT now()
);
CREATE INDEX ix_gene_sets_user_id ON gene_sets (user_id);
CREATE INDEX ix_gene_sets_site_id ON gene_sets (site_id);
CREATE INDEX ix_gene_sets_user_site ON gene_sets (user_id, site_id);
CREATE TABLE streams (
    id         char(36) NOT NULL PRIMARY KEY,
    user_id    char(36) REFERENCES users (id) ON DELETE CASCADE,
    site_id    varchar(50) DEFAULT '',
    created_at timestamptz DEFAULT now()
);
CREATE INDEX ix_streams_user_site ON streams (user_id, site_id);
CREATE TABLE stream_projections (
    stream_id       char(36) NOT NULL PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
    name            varchar(255) DEFAULT '',
    record_type     varchar(100),
    wdk_strategy_id integer,
    is_saved        boolean DEFAULT false,
    model_id        varchar(100),
    message_count   integer DEFAULT 0,
    step_count      integer DEFAULT 0,
    plan            json DEFAULT '{}',
    steps           json DEFAULT '[]',
    root_step_id    varchar(100),
    result_count    integer,
    last_event_id   varchar(30),
    updated_at      timestamptz DEFAULT now(),
    site_id         varchar(50) DEFAULT ''
);
CREATE UNIQUE INDEX ix_proj_wdk ON stream_projections (wdk_strategy_id) WHERE wdk_strategy_id IS NOT NULL;
CREATE TABLE operations (
    operation_id varchar(32) NOT NULL PRIMARY KEY,
    stream_id    char(36) REFERENCES streams (id) ON DELETE CASCADE,
    type         varchar(50) DEFAULT '',
    status       varchar(20) DEFAULT '',
    created_at   timestamptz DEFAULT now(),
    completed_at timestamptz
);
CREATE INDEX ix_operations_stream_status ON operations (stream_id, status);
INSERT INTO alembic_version VALUES ('6986444486d4');
-- revision 87d93def2ccd
ALTER TABLE streams ADD COLUMN experiment_id varchar(50);
CREATE INDEX ix_streams_user_experiment ON streams (user_id, experiment_id);
UPDATE alembic_version SET version_num = '87d93def2ccd';
-- revision a3f1b2c4d5e6
ALTER TABLE stream_projections ADD COLUMN gene_set_id varchar(50);
ALTER TABLE stream_projections ADD COLUMN gene_set_auto_imported boolean DEFAULT false;
ALTER TABLE stream_projections ADD CONSTRAINT fk_stream_projections_gene_set_id
    FOREIGN KEY (gene_set_id) REFERENCES gene_sets (id) ON DELETE SET NULL;
UPDATE alembic_version SET version_num = 'a3f1b2c4d5e6';
-- revision b4e2f3a5d6c7
ALTER TABLE stream_projections ADD COLUMN dismissed_at timestamptz;
UPDATE alembic_version SET version_num = 'b4e2f3a5d6c7';

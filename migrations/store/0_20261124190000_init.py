"""The first schema: seven entities, and the ids of documents.

A table's lock is waited for no longer than the session's lock_timeout; a long statement is not cut off.
Running the file twice fails at its first CREATE TABLE.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        -- Stays when everything else goes: aerich reads it to see what was applied.
        CREATE TABLE IF NOT EXISTS aerich (
            id      serial PRIMARY KEY,
            version varchar(255) NOT NULL,
            app     varchar(100) NOT NULL,
            content jsonb NOT NULL,
            -- aerich takes no lock: of two upgrades at once, the second fails here and is undone.
            CONSTRAINT aerich_version_key UNIQUE (app, version)
        );

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

        -- Deleting a user deletes what is theirs; a public control set stays, and the foreign key makes it nobody's.
        CREATE FUNCTION delete_private_control_sets() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM control_sets WHERE user_id = OLD.id AND NOT is_public;
            RETURN OLD;
        END
        $$;
        CREATE TRIGGER users_delete_private_control_sets BEFORE DELETE ON users
            FOR EACH ROW EXECUTE FUNCTION delete_private_control_sets();
    """


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;
        DROP TABLE operations, stream_projections, streams, experiments, control_sets, gene_sets, document_ids, users;
        DROP FUNCTION delete_private_control_sets();
    """


MODELS_STATE = (
    "eJztXf9T2zgW/1c0+aV0JsdAgNLjbm4GKO1yS0kHwnVnv4xXsUXi4kiuJBOYLv/7Soqd2L"
    "KdxIkdHJ9mdrpE0pOdz5Oe3nsfSfnRYpxQtHvHEG2dgB8tDEdI/BEvboMW9P1pofzMYd9T"
    "zQLRgKkWfcYptLkovIceQ6LIQcymrs9dgmXTWzJCfeI8g/GQADLGDNgEPwpxKFuwNmCIMw"
    "CxA9CTj6g7QpizXdm3Q2zRuYsH63UTYPd7gCxOBogP1df97Q9R7GIHPSEWffQfrHsXeU4C"
    "DdeRHahyiz/7quzu7vLDR9VSvmLfsokXjPCstf/MhwRPmweB6+xKGVk3QBhRyJETgwsHnh"
    "fCGhVN3lgUcBqg6as6swIH3cPAk6C3/n0fYFtCANST5D+H/wlfLdbMsq67Pev2omdZrZSO"
    "5CtoeIdFAmOpX1dgKYF5mfQ7A0SVtuQDzn86vdk5ePdWQUAYH1BVqeBqvShByOFEVIE+Qx"
    "k9cUQx9KwsuM+HkGbDrYlpuIvXXgLxEM8CgEdYVYBuawSfLA/hAR+Kj52jozlw/+/0RiEu"
    "WinIiZiEk6l5HVZ1JnUS+hnUNkUSDAvyNNIfRA0X8yYb7aSkBrYTiu5Gf6wy2KOCGfgziz"
    "IX/Wsy3nlbzajuXX6+uO2dfv4iux8x9t1TSJ32LmRNR5U+a6U77zSNTDsBXy97PwH5Efza"
    "vb7Qp8q0Xe/XlnwnGHBiYTK2oBNHIyqOil6k+bp/iE0tWdCH9sMYUsdK1MRGAsGcEs+SZj"
    "M9Fs5C6Y8/3yBPWdjMKSbXivNJR7eIrzDfVtZ5qfZsVhq+YmLOxNaTtYC6mPZzI5S3yQmy"
    "QbBEFYKj9YC6VX00FSH5ndafdZ9EL2LKNXgkEV9+JenbrQVUN+qmSThJA086JM/kp6tGnZ"
    "FeAjEcqK8kny2flDLn6bggaetzowN9bVkcJNyggElp4LlMuPHkHkhVMcCHkAMofHtI7SFg"
    "QxJ4DrgX6gA7YuV0ufuI3iqnP6zChIfVGA2gqk6HElU/zAQcNQ841P8LRBpR+5VCjLoZlQ"
    "1EGWKuoILBXEykgSjv7+0tgbJolYuyqkuiTJFNaIhtAaQ1MYP2cmhHK4AYpBkOyX9vu9fZ"
    "cOtyeuTs2hz8pVaijeJ++937MPm083vrzW9/vDk5+cYI7v/eqiiSlgglgugI7Z3Pp7/oij"
    "i/6p7pdl12cKYpJVp3iypFlzNKKVEpjATULmSSZhKlJPFqZYyOlrFFR/mm6ChliTgcFBrs"
    "UXszyEsc5D4ljwhDbCNLhAEoQyE99MRzloQM2SYM/Hl51ItfevN1ME2jXnWvP0XNdcUkdS"
    "DZnzCwT0J/iXOQj0logMvgeoOzYH8N8zKQD/5HZ//w+PD9wbvD96KJerlpyfEcRVxe9zQU"
    "XWb5Qd9z7Yw0CyEegjgn+IzLaWj2heAm4czOKpQxcM+63avEwD271Efm3eezC+FOqlEsGo"
    "lAJhtow700kHvRZhJDKCPsXTSPIikzixbPIrnzIDO3kJ8mi4mskSvbnsV2QWYsRRcmwU0j"
    "+5FQ5A7wz+hZ4Xsp3kM6L7kp92j3yFYCmkq2i2IKx9NcbXw0iW/uIA9Nhqp4Pri+u7pqve"
    "TTrxXm7ZPsYjp1n2Ifc7P3Gt+5OHnfxQigR+gFimcBNMBtAIH0moGAPZA9/Qu4HIzgM+gj"
    "j+AB4ES06ENuD2XTPsL2cATpQxsQCvqED9NJ+6oeYpL1NTBJ7TnJepNM3kR6c0spkZrzIB"
    "zyICM1MGfkTiVeGVgfYUeiVxq+y4zZTv6Q7aRGrDQYRdJgUfuapMEqN7mVpL3UalrQGsdl"
    "mpDmqjq/O3VUiuKsyRmsF2NtcjINz8kEvrOigpOSRsE1VbAhAcoiAUTMD+nzCizATNAkMG"
    "ucwNwi33VLMpg1RXTlFOb56e356YeLV8pghtv+06nL2XmA3Jxl7NjBcvnK+OHBE+ByBlwH"
    "Ye7yZ7XDVxaQsVD+LvgqdwXbQ4gHSDQS/2FV++fkrb5Q8g2pDNuf2TnLqh5k8pY1MERtk7"
    "d8zehtxlQUXFBTgoYXNHHx/1XYZLxQ44Vurxf6qqcE62nw1zwkmNjZGjqa+YgKx7ZHxD9L"
    "HuX9kuiyQfAWDW5iQOSFOUmsFgQ81kxZS8Y+XydnHONRyRsG0KPc7QHE+gECH3ByIptAe4"
    "jAPaGiK8aBeJyTcS1LCf2tEcmEKBRbxxJCm41rarmOtecEMcZNKNWtNjFh5THhlm5k2Zqz"
    "va946rRmnsEGdmWNnQdLPpKjwXOm3ThzB7k8V4bwSnxX3WCfUF//7HQODo47ewfv3h8dHh"
    "8fvd+bcmDpqnlk2NnlJ0nSJJSSSZAx+LjS5v5IzJBji8mxERFxYMEVMi5j7MpSdmWEGBNh"
    "igAxwBkZvlyTkpJ7XQJ9b20rUhqBzjjyC8OZFDJYRhkID2bkHuZcsRC2r8nOzuQB5x8v23"
    "nAWVSJb1B4SOtiDfI4ShvfHmTcUimSgitdSrB5y93h/hKr3eF+7mInq7T9NmYHYCFrsnVU"
    "luOykcvYSirWZUtQcs2mVzM1TRFkWQRFvu3Mkm2e+Sz/mE10XamlNOOOfEJ54TA4vxMTFC"
    "8OiqfoFUvEa2Jmi8tcyj5CK41wUdq+0NW89YR2IXevja0SDsLrpF5aDxHpvJwWble+RLoO"
    "NN5CBSRIzCW2T6yzMTc2oNOsdXK05/LViVuvF9PUpypsj67mBa7DFHPMhwiMCX1QR91ix/"
    "2Bg6j7iBxwT8kIEEkjM3nKP1ppJuUQROnwNI+9iQeaLbs1WALac9huQ8+aqwa2n6FVprbg"
    "hahxmVqmUbf1nsiNX4ZangJ8yDiqcWRqyPEMzF+FHJ+AifwVtTAVNBpYVQOT36ywii6tml"
    "gD82FmC9SWe4s+pOIvHv7c5NKUcEJqLY+mZpBv2oERSEq+cZLrKaoDTdJ4liUqhsSPrCxr"
    "gxJCzbNA5TuZW7+vp0aXjJhDpQ3nZ81dPGVME3PmxhzNrRbRzRzN1c4mrnw2t+FnSCu6TW"
    "d2ojnN2SVOO+dSdsmj1ctwdvLFB1T4PQ74RvrR72naniviAGBDDByX2UTY/La6+0aSax6C"
    "DAEhgSgYD117KAQk4SY+0gAz4PIsrq66BxmOrgbmuz2HoyuadVkr3VI3+1314cktvrBamC"
    "b3sc50hYl+Gh792GTkS0dpJRVrsmYfcp01PfEbCu4USQg1MPVWBdOinDbhjD2gjKRCvm+l"
    "iZmdr0lUhwhS3hdrygqGSpc1hqrOhmoyEdCT74pOV9B2lrzReJ01bsu0lWdRJJBlK/oi2V"
    "0YvddZ74hSkpHXzP8R4qlAE1yReZqs4peHRdRLuSV06BYlYNOSTcC/6jO8kHM08nlGZiKX"
    "WYqLmJsVons/hJpWwFIXM1RdHe4frJkNKCc2MeRnleRn3tG6ovTn0ofr6jlGyzhdpw/a9U"
    "E1nPIr/OjIKaKuPWylOdKwoj2HIIWzJovI0Xw0SyYcc9fwZXfYh6pbj2isfn/9mkt4Pr+Y"
    "u4cp36fP38TUBJaxksSunFMFEA6bNxDdSvbMiydylLVjNX+zdkykJru0t2e7fMrh2uRK9v"
    "I3jG2t8A=="
)

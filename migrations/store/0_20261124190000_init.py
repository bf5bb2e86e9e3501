"""The first schema: seven entities, and the tombstones of deleted documents.

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

        -- The ids of deleted documents, so that a save that comes late cannot bring one back.
        CREATE TABLE tombstones (
            id         uuid PRIMARY KEY,
            user_id    uuid NOT NULL CONSTRAINT tombstones_user_fkey REFERENCES users ON DELETE CASCADE,
            deleted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
        );
        CREATE INDEX tombstones_user_idx ON tombstones (user_id, id);

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
        DROP TABLE operations, stream_projections, streams, experiments, control_sets, gene_sets, tombstones, users;
        DROP FUNCTION delete_private_control_sets();
    """


MODELS_STATE = (
    "eJztXW1v2zgS/iuEvzQFfEHiJE0vdzggSdNubtO4SJzrYl+gpSXGViORKknFCbr570vSkq"
    "1X25IlR9YRWHRjkkPJz5BDzjwc+keHcULR7h1DtHMCfnQwdJH4I1rcBR3oebNC+ZnDoaOa"
    "+aIBUy2GjFNoclF4Dx2GRJGFmEltj9sEy6a3xEVDYj2DyZgAMsEMmAQ/CnEoW7AuYIgzAL"
    "EF0JOHqO0izNmu7NsipujcxqP1uvGx/d1HBicjxMfq6/72hyi2sYWeEAs/eg/GvY0cK4aG"
    "bckOVLnBnz1Vdnd3+eGjailfcWiYxPFdPG/tPfMxwbPmvm9bu1JG1o0QRhRyZEXgwr7jBL"
    "CGRdM3FgWc+mj2qta8wEL30Hck6J1/3/vYlBAA9ST5z+F/gleLNDOM6/7AuL0YGEYnpSP5"
    "Cgm8gyKBsdSvLbCUwLxM+50Doko78gHnP53e7By8e6sgIIyPqKpUcHVelCDkcCqqQJ+jjJ"
    "44ohg6Rhbc52NIs+FOiCVwF6+9AuIBngUAD7GqAd2OC58MB+ERH4uPvaOjBXD/7/RGIS5a"
    "KciJmITTqXkdVPWmdRL6OdQmRRIMA/I00h9EDRfzJhvtuGQCbCsQ3Q3/KDPYw4I5+HOLsh"
    "D9azLZeVvPqB5cfr64HZx+/iK7dxn77iikTgcXsqanSp8TpTvvEhqZdQK+Xg5+AvIj+LV/"
    "fZGcKrN2g1878p2gz4mBycSAVhSNsDgsepHm6/4hMrVkwRCaDxNILSNWExkJBHNKHEOazf"
    "RYOAukP/58gxxlYTOnmFwrzqcd3SJeYr6V1nml9mxeGrxibM5E1pO1gLqY9XMjlLfJCbJB"
    "sEQVgu56QN2qPtqKkPxO68+6T6IXMeVaPJKIJ7+S3NutBVQ/7KatOHHiij04wWg9nAZhN2"
    "3CSS6EpEfylsZ0ldtzkyUQw5H6SvLZ8kmpZS/tP8XXxFwvKrkGL3embpDPpDRwbCbcHXIP"
    "pKoY4GPIARQ+EKTmGLAx8R0L3At1gB2xw7C5/YjeKucoqMKEB9UYjaCqTrtcdT9MO2YNd8"
    "zU/1M453tkYftSrljTjMoGvDExV1BBpzci0kKU9/f2VkBZtMpFWdXFUabIJDTAtgDSCTGN"
    "9mpohyuAGKQZG5L/3vavs+FOyiUjDLbJwV9qJdoo7rffnQ/TTzu/d9789sebk5NvjODh75"
    "2aIg4SoViwIUR75/PpL0lFnF/1z5J2XXZwllBKuO4WVUpSTiulQqUw4lOzkEmaS1QS7GyU"
    "MTpaxRYd5Zuio5Ql4nBUaLCH7fUgr3CQe5Q8IgyxiQzhBmT5qAP0xHOWhAzZNgz8RfHmi1"
    "8Gi3UwCzdf9a8/hc2TionrQLJkgesfh/4S5yAfkUgALp3rDc6C/TXMy0g++B+9/cPjw/cH"
    "7w7fiybq5WYlxwsUcXk9SKBoM8Pzh45tZoRZCHEQxDnOZ1QugeZQCG4SzuyoQhUD96zfv4"
    "oN3LPL5Mi8+3x2IbaTahSLRsKRyQZac1Qt5KgSM4khlOH2LptHoZSeRctnkTyhkRlbyA+T"
    "RUTWiJVtz2K7JDKWolXj4KaR/Ugoskf4Z/Ss8L0U7yE3L7kh9/CUzVYCmgq2i2IKJ7NYbX"
    "Q0iW9uIQdNh6p4Pri+u7rqvOTT1DXG7eMsbDp0n2Jpc6P3CV54efC+jxFAj9DxFRMDqI+7"
    "AAK5awYCdl/29C9gc+DCZzBEDsEjwIloMYTcHMumQ4TNsQvpQxcQCoaEj9NB+7oeooP1DT"
    "BJ3QXBeh1M3kR4c0spkYbzIBxyPyM0sGDkziReGVgPYUuiVxm+q4zZXv6Q7aVGrDQYRcJg"
    "YfuGhMFqN7m1hL3UalrQGkdl2hDmqju+O9uoFMU5IaexXo61jsm0PCbje1ZJBccltYIbqm"
    "BNAlRFAgifH9LnEizAXFAHMBscwNyiveuWRDAbimjpEOb56e356YeLV4pgBukR6dDlPG8i"
    "N2YZSc9YLV4ZTbI8ATZnwLYQ5jZ/Vid8ZQGZCOXvgq/yVLA5hniERCPxH1a1f07f6gsl35"
    "CKsP2ZHbOs60E6btkAQ9TVccvX9N7mTEXBBTUlqHlB7Rf/X7lNeheqd6Hbuwt91WzKZhr8"
    "NZMEYydbg41mPqJiYzsg4p8VU56/xLpsEbxFnZsIEHluThyrJQ6PMVfWir7P12mOY9Qrec"
    "MAepSnPYBYP4DvAU5OZBNojhG4J1R0xTgQj7Myrq+poL81PJkAhWLrWExos35NI9ex7gIn"
    "Rm8TKt1Wa5+wdp9wSw+ybE1u7ytmnTZsZ7CBU1kT68GQj+Ro9JxpN87sUS7PlSFciu9qGu"
    "xT6uufvd7BwXFv7+Dd+6PD4+Oj93szDixdtYgMO7v8JEmamFIyCTIGH0sd7g/FNDm2nBxz"
    "ifADC66QURltV1ayKy5iTLgpAkQfZ0T4ck1KSu51CfS9ta1IZQQ648grDGdcSGMZRiAcmB"
    "F7WHDFQtC+ISc74wnOP162M8FZVIlvUHhIJ8VatOOobHw7kHFDhUgKrnQpwfYtd4f7K6x2"
    "h/u5i52sSpy30ScAC1mTraOyLJu5NmOlVJyUrUDJDZte7dQ0RZBlERT5tjNLtn3ms/o0m/"
    "BaV0NpxnY9QnlhNzi/E+0UL3eKZ+gVC8QnxPQRl4WUfYhWGuGitH2hK4ybCe1S7j4xtipI"
    "hE+Semk9hKTzalq4LX3ZdhNovKUKiJGYKxyfWOdgbmRAp1nr+GjP5atjt4Mvp6lPldseXs"
    "0LbIsp5piPEZgQ+qBS3SLp/sBC1H5EFrinxAVE0shMZvmHK820HIIwHJ7msTfxQH1ktwFL"
    "QHcB263pWX3VwPYztMrUFrwQNSrTyDDqtt4TufHLUKtTgAcZRw32TDU5noH5q5DjUzCRV1"
    "ILM0GtgbIamP5mhVF0aU2ItTAepo9Abflu0YNU/MWDn+VcmRKOSa21o2kY5JvewAgkJd84"
    "jfUU1UFCUu8sK1QMiaasrGqDYkLts0DVbzK3/lxPgy4Z0UmlLedn9V08VUwTnXOjU3PrRX"
    "QzqbmJ3MTSubktzyGt6TadeUZzmrOLZTvnUnbx1OpVODv54iMq9j0W+EaG4e9pmo4t/ABg"
    "Qgwsm5lE2PyuuvtGkmsOggwBIYEomIxtcywEJOEmPlIfM2DzLK6uvgdpjq4B5ru7gKMrGn"
    "VZK9zSNPtdd/LkFl9YLUyT/dhkukJ7Py33fkzienKjVErFCVl9DrnJmp7uGwqeFIkJtTD0"
    "VgfTojZtYjP2gDKCCvl7q4SYPvkaR3WMIOVDsaaUMFRJWW2ommyophMBPXm26LSEtrPktc"
    "abrHFThq0cgyKBLCu5F8nuQuu9yXpHlJKMuGb+jxDPBNqwFVmkyTp+eVh4vZQbQod2UQI2"
    "LdkG/OvO4YWcI9fjGZGJXGYpKqJvVgjv/RBqKoFlUkxTdU24f7BhNqAa30STn3WSn3mpdU"
    "Xpz5WT65o5RqvIrksO2vVB1ZzyK/zoyIC4Q/EXRp00TTqv6y6gSXnYakWadDCW6YUy0xCC"
    "KQrW7BeMu4CRkM2U98ZN/zaJixhwxJCQ3CYmHAylRmQ2osQgTZDW8whNjTbAuHcXUKOBqs"
    "tcg4IqJh80w1SHk683R/pkmF7FM1bxU0Rtc5yxhAcVi9ZvOG+ybO3OR7PitTHXE181Ty5Q"
    "3XprYp0Bo0oc8fylMPckcn5kLv8ochvOCtVCz8o5VQDhoHkL0a0l8008kaOsvJP8lKuISE"
    "NyrbYn6S21M9jkSvbyN6DPlwg="
)

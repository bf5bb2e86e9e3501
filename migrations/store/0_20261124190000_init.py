"""The first schema: seven tables.

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
            -- What a projection's link refers to: a set and its owner, so that nobody links another user's set.
            CONSTRAINT gene_sets_owner_key UNIQUE (user_id, id)
        );
        CREATE INDEX gene_sets_list_idx ON gene_sets (user_id, site_id, created_at DESC, id DESC);

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
            created_at       timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
        );
        CREATE INDEX control_sets_public_idx ON control_sets (site_id, created_at DESC, id DESC) WHERE is_public;
        CREATE INDEX control_sets_own_idx ON control_sets (user_id, site_id, created_at DESC, id DESC);
        CREATE INDEX control_sets_tags_idx ON control_sets USING gin (tags jsonb_ops);

        CREATE TABLE experiments (
            id           uuid PRIMARY KEY,
            user_id      uuid NOT NULL CONSTRAINT experiments_user_fkey REFERENCES users ON DELETE CASCADE,
            site_id      varchar(100) NOT NULL,
            name         varchar(255) NOT NULL DEFAULT '',
            status       varchar(20) NOT NULL DEFAULT 'pending',
            data         jsonb NOT NULL,
            batch_id     varchar(50),
            benchmark_id varchar(50),
            created_at   timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            updated_at   timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
        );
        CREATE INDEX experiments_list_idx ON experiments (user_id, site_id, updated_at DESC, id DESC);

        CREATE TABLE streams (
            id            uuid PRIMARY KEY,
            user_id       uuid NOT NULL CONSTRAINT streams_user_fkey REFERENCES users ON DELETE CASCADE,
            site_id       varchar(50) NOT NULL,
            experiment_id uuid,
            created_at    timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            -- What projections and operations refer to: a stream and its owner, so that the two cannot differ.
            CONSTRAINT streams_owner_key UNIQUE (user_id, id)
        );
        CREATE INDEX streams_experiment_idx ON streams (user_id, experiment_id) WHERE experiment_id IS NOT NULL;

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
                       AND dismissed_reason IN ('user', 'wdk_orphan'))
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
            CONSTRAINT operations_stream_fkey
                FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id) ON DELETE CASCADE
        );
        CREATE INDEX operations_stream_idx ON operations (user_id, stream_id, status);

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
        DROP TABLE operations, stream_projections, streams, experiments, control_sets, gene_sets, users;
        DROP FUNCTION delete_private_control_sets();
    """


MODELS_STATE = (
    "eJztXXtz2rgW/yoa/mk6w80kJGl6s3fuDEnTbnbT0Ankdmcf4xW2Am6M5EoyJNOb776SsM"
    "FPwGCD8Wimk4KkI5vfkY7O0/7RYJxQdPjAEG1cgB8NDEdIfAg3N0EDuu6sUX7nsO+oYZ4Y"
    "wNSIPuMUmlw0PkKHIdFkIWZS2+U2wXJol4xQn1gvYDIkgEwwAybBY0EO5QjWBAxxBiC2AH"
    "p2EbVHCHN2KOe2iCkmt/Fgs2k8bH/3kMHJAPGh+rl//CWabWyhZ8SCr+6T8Wgjx4qgYVty"
    "AtVu8BdXtT083Hz4qEbKW+wbJnG8EZ6Pdl/4kODZcM+zrUNJI/sGCCMKObJCcGHPcXxYg6"
    "bpHYsGTj00u1Vr3mChR+g5EvTGfx49bEoIgLqS/HP6X//WQsMM467TM7rXPcNoJHgkbyGG"
    "t98kMJb8tQWWEpjX6bxzQFRrQ17g6uf2/cHJu7cKAsL4gKpOBVfjVRFCDqekCvQ5yuiZI4"
    "qhY6TBfTWENB3uGFkMd3HbKyDu45kD8ACrEtBtjOCz4SA84EPxtXV2tgDu/7XvFeJilIKc"
    "iE043Zp3fldr2iehn0NtUiTBMCBPIv1B9HCxb9LRjlLGwLZ80sPgwzqLPWiYgz+XKAvRvy"
    "OTg7flrOrezefrbq/9+YucfsTYd0ch1e5dy56Wan2JtR68i3FkNgn4etP7Gciv4PfO3XV8"
    "q8zG9X5vyHuCHicGJhMDWmE0guag6VWKr8en0NaSDX1oPk0gtYxIT2glEMwpcQwpNpNr4d"
    "Kn/vjrPXKUhE3dYvKsuJpO1EV8jf22Ns8LlWfzVv8WI3smdJ5sBNT1bJ57wbxtbpAtgiW6"
    "EBxtBlRXzVFXhORv2nzXfRKziC1X45VEXPmTpG63EVCdYJo64SQFPGmRLJGf7Bq1RvEWiO"
    "FA/SR5bXmlhDhP2gVRWZ9pHcTPluVGwj3ymKQGjs2EGk8egWQVA3wIOYBCt4fUHAI2JJ5j"
    "gUfBDnAgTk6b22P0Vin9fhcm3O/GaABVd9KUKPti2uCouMGh/s9haQTj1zIxqiZUtmBliL"
    "2CchpzIZIaonx8dLQCymJUJsqqL4oyRSahPrY5kI6RabRXQzs4AcQiTVFIful27tLhjtPF"
    "LWfb5OD/6iTaKu7d786H6beDPxtv/vjrzcXFN0Zw/89GSZa0RChiRAdoH3xu/xZnxNVt5z"
    "Iu1+UElzGmBOduXqbE6TRTCmQKIx41c4mkOUUhTrxKCaOzVWTRWbYoOktIIg4HuRZ7MF4v"
    "8gIXuUvJGGGITWQIMwClMKSHnnnGkZBCW4eFv8iPev1bbzEPZm7U287dp2B4nDFRHsjoj2"
    "/YR6G/wRnIhyhigEvjeou74HgD8TKQF/5X6/j0/PT9ybvT92KIurlZy/kCRtzc9WIo2sxw"
    "vb5jmyluFkIcBHGG8Rmmi6HZF4TbhDPdq1DEwr3sdG4jC/fyJr4yHz5fXgt1Uq1iMUgYMu"
    "lA69hLDWMvYQbLoHiq2ZvtwQmRbODG2Z9zYInTJhHJioKbRPYjocge4F/Ri8L3RtyHPFcz"
    "vcFBYsNeAprwA4tmCiczN2J4NYlfbiEHTWWRuD64e7i9bbxmRwZLdClHA19Jr3IiMJbpWI"
    "6F4pb7lTsYATSGjqdCAIB6uAkgkAodELB7cqafgM3BCL6APnIIHgBOxIg+5OZQDu0jbA5H"
    "kD41AaGgT/gw6U8u6yLaj1wBkdRc4EfWfs5teN721FtfcRc9h9xLsVoXrNwZxY6BdRG2JH"
    "qF4bvKmm1lL9lWYsVKgZHHQxOMr4iHpnSRW4pHRp2mOaVxmKYOHpiyXY8zRSUvzjE6jfVy"
    "rLW7oO7uAtdak8FRSs3gqjJ4V/6gPVIF9sQhVFFE1/YIXbW7V+0P1ztyCPkJvklP0DzzN9"
    "MFFEowXs39Ey4TugA2Z8C2EOY2f1G5fLKBTATzD8FXmf9nDiEeIDFI/MOq9+/pXX2h5BtS"
    "Dou/011AZV1Iu4EqIIia2g20S2V47vjNeaAmCHWYRZsZWgvVWqjWQvdCC91pPVA1Bf6G5U"
    "CRHDZf0cxGVCi2PSL+rFi09yUyZY3gzWvchIDIMnOiWC0xeIw5s1a0fb5Oq5nCVskbBtBY"
    "Bs+BOD+A5wJOLuQQaA4ReCRUTMU4EJezUh7AUMB8G1gyPgr5zrEI0XbtmkqeY80FRoxWEw"
    "pVq7VNWLpNuKd5AXtTxbfD+rKKaQZbSHKZWE+GvCRHg5dUuXFpDzLT2lOI10pvrxrs00z3"
    "f7daJyfnraOTd+/PTs/Pz94fzVLek12Lct8vbz7JrOwIU1Lz4RkcozQWLEmHn5HpbPjl2f"
    "AjIuzAnCdkmEbLlZXkyggxJswUAaKHUzx8mSIlQbfbepmjjaVIYfUyjCM3N5xRIo1l4IFw"
    "YIrvYUExtT++Ioly0VLGH6/7WcoousQvyL2k42Q10jgKW98OZNxQLpKcJ12CsH7H3enxCq"
    "fd6XHmYSe7omjrhKqah7Ism41sxtZicZy2ACZXbHvVk9MUQZYWoMiWnWm09ROfxVctBA8m"
    "NBRn7JFLKM9tBmdPoo3i5UbxDL18jvgYmU5xWRiyD9BKIpw3bJ/rIZzVhHZp7D62tgqoK4"
    "4H9ZJ8CILOq3Ghu/bjYqsQxlvKgEgQc4X0iU0Sc0MLOhm1jq72zHh15Pm2y8PUbWW2Bw/h"
    "BLbFVOSYDxGYEPqkKodC1dPAQtQeIws8UjICRIaRmSyaDk6aaTsEgTs8GcfexgV1ym4Fjo"
    "Dmgmi3Ds/qyu39j9AqUZvz0Ydhmkq6Uff1iXBbf+xhcQxwIeOowpapDo6nYL6T4PgUTOSu"
    "yYUZoebAuhyYPp3eyHu0xshq6A/TKVB7ri26kIpP3H+x3Moh4QjVRhpNxSDftgIjkJTxxq"
    "mvJy8PYpRasyyQMSRcsrKqDIoQ1U8CFa9k7n1eT4WeKayLSmsen9XVIrqotFxEt1NUGquq"
    "W7uqtObVjyU9B2Zei5uMNkXqdDODTdGi4FWiTfLGB1Sc2Bb4RvrBO99MxxYaLDAhBpbNTD"
    "JGtKme2iLDQg6CDAFBgSiYDG1zKAhkqEh8pR5mwOZpUabyLqSjSxUQ380F0aW8/oKNHAVV"
    "k99ll/3t8ZNrhWiyx1V2tGu9veZ6u0lGrlSU1mJxjFZn0FaZ01O9IWeOQ4Sohk6jMmIESm"
    "kTytgTSvHPZetWMTKdsxlFdYgg5X1xpqwhqOK0WlBVWVBNNwJ6dm0x6RrcTqPXHK8yx03p"
    "tnIMigSybE1dJH0Kzfcq8x1RSlL8mtkvypwR1EEVWcTJMt6OKaxeyo3p66fzhQ6TlHXAv+"
    "zqU7bLJ5RVDOtidEAdZCozyJRVfJM3zLRy+U0112gR9TfxRatjd3v5WoI2orY5bCRjUX5H"
    "c0EgCs6HLAtCZaNZcGAnM2tl1Rxcn3WbBXTKz8DdMG0lO46T+YLxbN0p+w3jdYjmlOJAk3"
    "sqB8L+8BqiW0pWrbgiR2k5bdnpnCGSiuRx7k9CbULh2uZJ9voP9jMo5w=="
)

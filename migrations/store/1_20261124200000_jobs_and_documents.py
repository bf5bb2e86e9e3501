"""Versions of documents, leases of jobs, counts for lists, and the indexes of their lists.

Columns with a constant default cost nothing; the generated counts rewrite gene_sets and control_sets, and the
indexes are built under a lock on their tables: run it while these tables are small, as they are before a first release.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        ALTER TABLE experiments
            ADD COLUMN version integer NOT NULL DEFAULT 1,
            ADD COLUMN is_primary boolean NOT NULL DEFAULT false,
            ADD CONSTRAINT experiments_data_check CHECK (jsonb_typeof(data) = 'object');
        DROP INDEX experiments_list_idx;
        CREATE INDEX experiments_list_idx ON experiments (user_id, updated_at DESC, id DESC);
        CREATE INDEX experiments_site_list_idx ON experiments (user_id, site_id, updated_at DESC, id DESC);
        CREATE INDEX experiments_batch_idx ON experiments (user_id, batch_id, created_at, id)
            WHERE batch_id IS NOT NULL;
        CREATE INDEX experiments_benchmark_idx ON experiments (user_id, benchmark_id, (NOT is_primary), created_at, id)
            WHERE benchmark_id IS NOT NULL;

        ALTER TABLE gene_sets
            ADD COLUMN version integer NOT NULL DEFAULT 1,
            ADD COLUMN gene_count integer GENERATED ALWAYS AS (jsonb_array_length(gene_ids)) STORED;
        DROP INDEX gene_sets_list_idx;
        CREATE INDEX gene_sets_list_idx ON gene_sets (user_id, created_at DESC, id DESC);
        CREATE INDEX gene_sets_site_list_idx ON gene_sets (user_id, site_id, created_at DESC, id DESC);
        CREATE INDEX gene_sets_wdk_idx ON gene_sets (user_id, wdk_strategy_id) WHERE wdk_strategy_id IS NOT NULL;
        CREATE INDEX gene_sets_gene_ids_idx ON gene_sets USING gin (gene_ids jsonb_ops);

        ALTER TABLE control_sets
            ADD COLUMN is_seed boolean NOT NULL DEFAULT false,
            ADD COLUMN positive_count integer GENERATED ALWAYS AS (jsonb_array_length(positive_ids)) STORED,
            ADD COLUMN negative_count integer GENERATED ALWAYS AS (jsonb_array_length(negative_ids)) STORED,
            ADD CONSTRAINT control_sets_seed_check CHECK (NOT is_seed OR (is_public AND user_id IS NULL));
        CREATE UNIQUE INDEX control_sets_seed_key ON control_sets (user_id, site_id, name) NULLS NOT DISTINCT
            WHERE is_seed;
        CREATE INDEX control_sets_positive_ids_idx ON control_sets USING gin (positive_ids jsonb_ops);
        CREATE INDEX control_sets_negative_ids_idx ON control_sets USING gin (negative_ids jsonb_ops);

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

        -- One conversation for an experiment, also when two tabs open it at once.
        DROP INDEX streams_experiment_idx;
        CREATE UNIQUE INDEX streams_experiment_key ON streams (user_id, experiment_id)
            WHERE experiment_id IS NOT NULL;

        -- What the automatic import of gene sets has still to do.
        CREATE INDEX stream_projections_import_idx ON stream_projections (user_id, site_id, stream_id)
            WHERE wdk_strategy_id IS NOT NULL AND dismissed_at IS NULL AND gene_set_id IS NULL
              AND NOT gene_set_auto_imported;

        ALTER TABLE operations
            ADD COLUMN attempts integer NOT NULL DEFAULT 0,
            ADD COLUMN max_attempts integer NOT NULL DEFAULT 1,
            ADD CONSTRAINT operations_max_attempts_check CHECK (max_attempts > 0);
        CREATE INDEX operations_list_idx ON operations (user_id, created_at DESC, id DESC);
        CREATE INDEX operations_active_idx ON operations (user_id, created_at DESC, id DESC)
            WHERE status = 'active';
        -- Two producers on one conversation would interleave.
        CREATE UNIQUE INDEX operations_chat_key ON operations (user_id, stream_id)
            WHERE status = 'active' AND type IN ('chat', 'workbench_chat') AND stream_id IS NOT NULL;
        -- For workers, which serve every user: what is waiting, oldest first, and whose lease has expired.
        CREATE INDEX operations_waiting_idx ON operations (type, created_at, id)
            WHERE status = 'active' AND lease_token IS NULL;
        CREATE INDEX operations_expiry_idx ON operations (lease_expires_at)
            WHERE status = 'active' AND lease_token IS NOT NULL;
    """


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        DROP INDEX operations_list_idx, operations_active_idx, operations_chat_key, operations_waiting_idx,
            operations_expiry_idx, stream_projections_import_idx, streams_experiment_key, control_sets_seed_key,
            control_sets_positive_ids_idx, control_sets_negative_ids_idx, gene_sets_list_idx, gene_sets_site_list_idx,
            gene_sets_wdk_idx, gene_sets_gene_ids_idx, experiments_list_idx, experiments_site_list_idx,
            experiments_batch_idx, experiments_benchmark_idx;
        DROP TABLE document_ids;
        ALTER TABLE operations DROP COLUMN attempts, DROP COLUMN max_attempts;
        ALTER TABLE control_sets DROP COLUMN is_seed, DROP COLUMN positive_count, DROP COLUMN negative_count;
        ALTER TABLE gene_sets DROP COLUMN version, DROP COLUMN gene_count;
        ALTER TABLE experiments DROP COLUMN version, DROP COLUMN is_primary, DROP CONSTRAINT experiments_data_check;
        CREATE INDEX gene_sets_list_idx ON gene_sets (user_id, site_id, created_at DESC, id DESC);
        CREATE INDEX experiments_list_idx ON experiments (user_id, site_id, updated_at DESC, id DESC);
        CREATE INDEX streams_experiment_idx ON streams (user_id, experiment_id) WHERE experiment_id IS NOT NULL;
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

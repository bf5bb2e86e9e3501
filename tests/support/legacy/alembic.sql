-- What Alembic's migrations did beside, and after, the tables of create_all.sql: see schema_sql.
-- revision 6986444486d4
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
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

"""Which parameter takes what. A new one needs an entry here; the tests fail without it."""

from tests.support import hostile_kinds as kinds
from tests.support.hostile_kinds import (
    FLAG,
    UUID_KIND,
    Kind,
    choice,
    cursor,
    genes,
    identities,
    name,
    optional,
    text,
    texts,
    whole,
)
from veupath_store.inputs import limits
from veupath_store.values import (
    ControlSetPatch,
    GeneMatch,
    GeneSetSource,
    OperationType,
    ProjectionPatch,
    ProjectionSort,
    PurgeMode,
)

# The matrix runs with a smaller limit; a test of its own takes the real one.
GENE_IDS = 1_000
MAYBE_EMPTY_NAME = name(limits.NAME, shortest=0)
WDK_ID = whole(0, limits.INT64_MAX)
COUNT = whole(0, limits.INT32_MAX)
VERSION = whole(1, limits.INT32_MAX)
CONTROL_SET_PATCH = Kind(
    lambda value: isinstance(value, ControlSetPatch),
    lambda: [ControlSetPatch(), ControlSetPatch(name="Kinases"), {}, ProjectionPatch()],
)
PROJECTION_PATCH = Kind(
    lambda value: isinstance(value, ProjectionPatch), lambda: [ProjectionPatch(name="Kinases"), {}, ControlSetPatch()]
)
CONTROL_SET, STREAM = "ControlSetRepository", "StreamRepository"
OPERATION, LEASE = "OperationRepository", "LeaseRepository"
EXPERIMENT, GENE_SET = "ExperimentRepository", "GeneSetRepository"

# What is taken by which parameters: "Repository.method.parameter", "Repository.parameter", or its name; and `None`,
# where that is the default.
TAKEN: list[tuple[Kind, str]] = [
    (UUID_KIND, "id user_id operation_id stream_id experiment_id gene_set_id"),
    (FLAG, "is_public is_saved is_primary dismissed dry_run keep_account begun automatic allow_empty"),
    (FLAG, "gene_set_auto_imported wdk_strategy_id_set is_saved_set result_count_set gene_set_id_set"),
    (COUNT, "step_count result_count expected version"),
    (VERSION, f"{CONTROL_SET}.update.version {EXPERIMENT}.patch_field.version"),
    (VERSION, f"{EXPERIMENT}.is_written.version {GENE_SET}.is_written.version"),
    (WDK_ID, "wdk_strategy_id wdk_step_id"),
    (whole(1, limits.PAGE), "limit"),
    (whole(1, limits.SWEEP), f"{LEASE}.sweep.limit"),
    (whole(1, limits.ATTEMPTS), "max_attempts"),
    (kinds.whole_numbers(limits.WDK_IDS, limits.INT64_MAX), "live_wdk_ids"),
    (kinds.SHARE, "max_share"),
    (kinds.span(limits.LEASE_SECONDS), "lease_seconds"),
    (name(limits.NAME), f"name {STREAM}.update_projection.name"),
    (MAYBE_EMPTY_NAME, f"{STREAM}.name {EXPERIMENT}.name"),
    (text(limits.EXTERNAL_ID), "external_id"),
    (text(limits.SITE_ID), "site_id"),
    (text(limits.STREAM_SITE_ID), f"{STREAM}.site_id"),
    (text(limits.RECORD_TYPE), "record_type"),
    (text(limits.RECORD_TYPE, shortest=0), f"{GENE_SET}.record_type"),
    (text(limits.SOURCE, shortest=0), "source"),
    (text(limits.PROVENANCE_NOTES, shortest=0), "provenance_notes"),
    (text(limits.OPERATION_TYPE), "type"),
    (text(limits.WORKER_ID), "worker_id"),
    (text(limits.STATUS), "status"),
    (text(limits.BATCH_ID, shortest=0), "batch_id benchmark_id"),
    (text(limits.BATCH_ID), f"{EXPERIMENT}.page_by_batch.batch_id {EXPERIMENT}.page_by_benchmark.benchmark_id"),
    (text(limits.DOCUMENT_FIELD), "field"),
    (text(limits.SEARCH_NAME, shortest=0), "search_name"),
    (text(limits.GENE_SET_OPERATION, shortest=0), "operation"),
    (texts(limits.TAGS, limits.TAG), "tags"),
    (genes(GENE_IDS, limits.GENE_ID), f"positive_ids negative_ids {GENE_SET}.gene_ids"),
    (
        genes(limits.GENES_SOUGHT, limits.GENE_ID, fewest=1),
        f"{GENE_SET}.page_containing.gene_ids {CONTROL_SET}.page_containing.gene_ids",
    ),
    (choice(GeneSetSource), f"{GENE_SET}.source"),
    (choice(GeneMatch), "match"),
    (choice(ProjectionSort), "sort"),
    (choice(PurgeMode), "mode"),
    (kinds.collection(text(limits.OPERATION_TYPE), [str(it) for it in OperationType]), "types"),
    (identities(limits.DOCUMENT_IDS), "ids"),
    (identities(limits.PARENT_SETS), "parent_set_ids"),
    (kinds.PLAN, "plan"),
    (kinds.DATA, "data"),
    (kinds.PARAMETERS, "parameters"),
    (kinds.FIELD_VALUE, "value"),
    (kinds.STRATEGIES, "strategies"),
    (kinds.POSITION, "start_position"),
    (kinds.LEASE, "lease"),
    (kinds.ERROR, "error"),
    (PROJECTION_PATCH, "patch"),
    (CONTROL_SET_PATCH, f"{CONTROL_SET}.patch"),
    (kinds.EXPERIMENT_SAVE, f"{EXPERIMENT}.save"),
    (kinds.GENE_SET_SAVE, f"{GENE_SET}.save"),
    (cursor("projections", kinds.TIME, kinds.ID), f"{STREAM}.page_projections.cursor"),
    (cursor("to import", kinds.ID), f"{STREAM}.page_gene_set_imports.cursor"),
    (cursor("control sets", kinds.TIME, kinds.ID), f"{CONTROL_SET}.cursor"),
    (cursor("operations", kinds.TIME, kinds.ID), f"{OPERATION}.page.cursor"),
    (cursor("active operations", kinds.TIME, kinds.ID), f"{OPERATION}.page_active.cursor"),
    (cursor("experiments", kinds.TIME, kinds.ID), f"{EXPERIMENT}.page_summaries.cursor"),
    (cursor("batch", kinds.TIME, kinds.ID), f"{EXPERIMENT}.page_by_batch.cursor"),
    (cursor("benchmark", True, kinds.TIME, kinds.ID), f"{EXPERIMENT}.page_by_benchmark.cursor"),
    (cursor("gene sets", kinds.TIME, kinds.ID), f"{GENE_SET}.cursor"),
    # The order by name has a text in its key: see `MORE`.
    (cursor("by name", "Kinases", kinds.ID), "by_name"),
]
KINDS: dict[str, Kind] = {parameter: kind for kind, parameters in TAKEN for parameter in parameters.split()}


# The fields of a strategy that a sync takes.
STRATEGY_FIELDS: dict[str, Kind] = {
    "wdk_strategy_id": WDK_ID,
    "name": MAYBE_EMPTY_NAME,
    "record_type": optional(text(limits.RECORD_TYPE, shortest=0)),
    "is_saved": FLAG,
    "result_count": optional(COUNT),
    "step_count": COUNT,
}

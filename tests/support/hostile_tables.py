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
NAME = name(limits.NAME)
MAYBE_EMPTY_NAME = name(limits.NAME, shortest=0)
GENE_LIST = genes(GENE_IDS, limits.GENE_ID)
GENES_SOUGHT = genes(limits.GENES_SOUGHT, limits.GENE_ID, fewest=1)
WDK_ID = whole(0, limits.INT64_MAX)
COUNT = whole(0, limits.INT32_MAX)

# What a parameter takes: by "Repository.method.parameter", by "Repository.parameter", or by its name; and `None`, where
# that is its default.
KINDS: dict[str, Kind] = {
    "id": UUID_KIND,
    "user_id": UUID_KIND,
    "operation_id": UUID_KIND,
    "stream_id": UUID_KIND,
    "experiment_id": UUID_KIND,
    "external_id": text(limits.EXTERNAL_ID),
    "StreamRepository.site_id": text(limits.STREAM_SITE_ID),
    "site_id": text(limits.SITE_ID),
    "StreamRepository.update_projection.name": NAME,
    "StreamRepository.name": MAYBE_EMPTY_NAME,
    "ExperimentRepository.name": MAYBE_EMPTY_NAME,
    "name": NAME,
    "GeneSetRepository.record_type": text(limits.RECORD_TYPE, shortest=0),
    "record_type": text(limits.RECORD_TYPE),
    "positive_ids": GENE_LIST,
    "negative_ids": GENE_LIST,
    "GeneSetRepository.source": choice(GeneSetSource),
    "source": text(limits.SOURCE, shortest=0),
    "tags": texts(limits.TAGS, limits.TAG),
    "provenance_notes": text(limits.PROVENANCE_NOTES, shortest=0),
    "is_public": FLAG,
    "LeaseRepository.sweep.limit": whole(1, limits.SWEEP),
    "limit": whole(1, limits.PAGE),
    "wdk_strategy_id": WDK_ID,
    "wdk_strategy_id_set": FLAG,
    "is_saved": FLAG,
    "is_saved_set": FLAG,
    "plan": kinds.PLAN,
    "step_count": COUNT,
    "result_count": COUNT,
    "result_count_set": FLAG,
    "gene_set_id": UUID_KIND,
    "gene_set_id_set": FLAG,
    "gene_set_auto_imported": FLAG,
    "live_wdk_ids": kinds.whole_numbers(limits.WDK_IDS, limits.INT64_MAX),
    "max_share": kinds.SHARE,
    "allow_empty": FLAG,
    "ControlSetRepository.patch": Kind(
        lambda value: isinstance(value, ControlSetPatch),
        lambda: [ControlSetPatch(), ControlSetPatch(name="Kinases"), {}, ProjectionPatch()],
    ),
    "patch": Kind(
        lambda value: isinstance(value, ProjectionPatch),
        lambda: [ProjectionPatch(name="Kinases"), {}, ControlSetPatch()],
    ),
    "expected": COUNT,
    "ControlSetRepository.update.version": whole(1, limits.INT32_MAX),
    "ExperimentRepository.patch_field.version": whole(1, limits.INT32_MAX),
    "ExperimentRepository.is_written.version": whole(1, limits.INT32_MAX),
    "GeneSetRepository.is_written.version": whole(1, limits.INT32_MAX),
    "version": whole(0, limits.INT32_MAX),
    "GeneSetRepository.gene_ids": GENE_LIST,
    "GeneSetRepository.page_containing.gene_ids": GENES_SOUGHT,
    "ControlSetRepository.page_containing.gene_ids": GENES_SOUGHT,
    "match": choice(GeneMatch),
    "sort": choice(ProjectionSort),
    "dismissed": FLAG,
    "strategies": kinds.STRATEGIES,
    "mode": choice(PurgeMode),
    "dry_run": FLAG,
    "keep_account": FLAG,
    "type": text(limits.OPERATION_TYPE),
    "types": kinds.collection(text(limits.OPERATION_TYPE), [str(it) for it in OperationType]),
    "worker_id": text(limits.WORKER_ID),
    "lease_seconds": kinds.span(limits.LEASE_SECONDS),
    "start_position": kinds.POSITION,
    "max_attempts": whole(1, limits.ATTEMPTS),
    "lease": kinds.LEASE,
    "error": kinds.ERROR,
    "begun": FLAG,
    "ids": identities(limits.DOCUMENT_IDS),
    "parent_set_ids": identities(limits.PARENT_SETS),
    "status": text(limits.STATUS),
    "data": kinds.DATA,
    "parameters": kinds.PARAMETERS,
    "ExperimentRepository.page_by_batch.batch_id": text(limits.BATCH_ID),
    "ExperimentRepository.page_by_benchmark.benchmark_id": text(limits.BATCH_ID),
    "batch_id": text(limits.BATCH_ID, shortest=0),
    "benchmark_id": text(limits.BATCH_ID, shortest=0),
    "is_primary": FLAG,
    "field": text(limits.DOCUMENT_FIELD),
    "value": kinds.FIELD_VALUE,
    "ExperimentRepository.save": kinds.EXPERIMENT_SAVE,
    "GeneSetRepository.save": kinds.GENE_SET_SAVE,
    "wdk_step_id": WDK_ID,
    "search_name": text(limits.SEARCH_NAME, shortest=0),
    "operation": text(limits.GENE_SET_OPERATION, shortest=0),
    "automatic": FLAG,
    "StreamRepository.page_projections.cursor": cursor("projections", kinds.TIME, kinds.ID),
    "StreamRepository.page_gene_set_imports.cursor": cursor("to import", kinds.ID),
    "ControlSetRepository.cursor": cursor("control sets", kinds.TIME, kinds.ID),
    "OperationRepository.page.cursor": cursor("operations", kinds.TIME, kinds.ID),
    "OperationRepository.page_active.cursor": cursor("active operations", kinds.TIME, kinds.ID),
    "ExperimentRepository.page_summaries.cursor": cursor("experiments", kinds.TIME, kinds.ID),
    "ExperimentRepository.page_by_batch.cursor": cursor("batch", kinds.TIME, kinds.ID),
    "ExperimentRepository.page_by_benchmark.cursor": cursor("benchmark", True, kinds.TIME, kinds.ID),
    "GeneSetRepository.cursor": cursor("gene sets", kinds.TIME, kinds.ID),
    # The order by name has a text in its key: see `MORE`.
    "by name": cursor("by name", "Kinases", kinds.ID),
}


# The fields of a strategy that a sync takes.
STRATEGY_FIELDS: dict[str, Kind] = {
    "wdk_strategy_id": WDK_ID,
    "name": MAYBE_EMPTY_NAME,
    "record_type": optional(text(limits.RECORD_TYPE, shortest=0)),
    "is_saved": FLAG,
    "result_count": optional(COUNT),
    "step_count": COUNT,
}

"""All that is measured, in the order of the table. One module for each entity; the variants stand side by side."""

from typing import Final

from benchmarks.workload import Workload
from benchmarks.workloads.accounts import Purge
from benchmarks.workloads.chat import ChatTurn
from benchmarks.workloads.control_sets import ByGene, ByTag
from benchmarks.workloads.conversations import Create, OpenBigConversation, OpenConversation, Rename
from benchmarks.workloads.experiments import Save, Summaries
from benchmarks.workloads.operations import Complete, Heartbeat, Register, Sweep
from benchmarks.workloads.plans import UpdateBigPlan, UpdatePlan
from benchmarks.workloads.pruning import Prune
from benchmarks.workloads.rebuilding import Rebuild
from benchmarks.workloads.sidebar import Sidebar, SidebarBigPlans, SidebarDeep, SidebarFirst
from benchmarks.workloads.users import KnownLogin, KnownUser
from benchmarks.workloads.wdk import BigSyncFirst, BigSyncUnchanged, SyncFirst, SyncUnchanged

WORKLOADS: Final[tuple[type[Workload], ...]] = (
    KnownUser,
    KnownLogin,
    OpenConversation,
    OpenBigConversation,
    Sidebar,
    SidebarBigPlans,
    SidebarFirst,
    SidebarDeep,
    Create,
    Rename,
    UpdatePlan,
    UpdateBigPlan,
    ByTag,
    ByGene,
    SyncFirst,
    SyncUnchanged,
    BigSyncFirst,
    BigSyncUnchanged,
    Prune,
    Save,
    Summaries,
    Register,
    Heartbeat,
    Complete,
    Sweep,
    Purge,
    ChatTurn,
    Rebuild,
)

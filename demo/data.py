"""The facts of the day: who works on which site, genes, GO terms, and the strategies that they build.

Gene ids and GO terms are real. Result counts, and the people, are made up.
"""

from dataclasses import dataclass, field
from typing import Final

from demo.strategies import Search, Strategy


@dataclass(frozen=True)
class Researcher:
    """Somebody who works with the sites."""

    key: str
    name: str
    email: str
    sites: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ControlSetFacts:
    """Genes with a known answer, by their ids, with the names that people call them by."""

    owner: str
    name: str
    site_id: str
    positive: dict[str, str]
    negative: dict[str, str]
    tags: tuple[str, ...]
    is_public: bool = field(default=False)


RESEARCHERS: Final = (
    Researcher("amara", "Amara Okafor", "amara.okafor@example.org", ("plasmodb",)),
    Researcher("tomas", "Tomas Lindqvist", "tomas.lindqvist@example.org", ("toxodb", "plasmodb")),
    Researcher("yuki", "Yuki Tanaka", "yuki.tanaka@example.org", ("fungidb",)),
    Researcher("nadia", "Nadia Haddad", "nadia.haddad@example.org", ("tritrypdb", "plasmodb")),
)

GO_TERMS: Final = {
    "GO:0003735": "structural constituent of ribosome",
    "GO:0004672": "protein kinase activity",
    "GO:0006096": "glycolytic process",
    "GO:0006412": "translation",
    "GO:0008233": "peptidase activity",
    "GO:0020011": "apicoplast",
}

_HOUSEKEEPING: Final = {
    "PF3D7_1246200": "actin I",
    "PF3D7_1444800": "aldolase",
    "PF3D7_1462800": "GAPDH",
}

CONTROL_SETS: Final = (
    ControlSetFacts(
        owner="amara",
        name="Drug resistance markers",
        site_id="plasmodb",
        positive={
            "PF3D7_1343700": "kelch13",
            "PF3D7_0709000": "CRT",
            "PF3D7_0417200": "DHFR-TS",
            "PF3D7_0810800": "DHPS",
            "PF3D7_0523000": "MDR1",
        },
        negative=_HOUSEKEEPING,
        tags=("drug-resistance", "antimalarial"),
        is_public=True,
    ),
    ControlSetFacts(
        owner="amara",
        name="Merozoite vaccine candidates",
        site_id="plasmodb",
        positive={
            "PF3D7_0930300": "MSP1",
            "PF3D7_0206800": "MSP2",
            "PF3D7_1133400": "AMA1",
            "PF3D7_0731500": "EBA175",
            "PF3D7_0424100": "RH5",
        },
        negative=_HOUSEKEEPING | {"PF3D7_0709000": "CRT"},
        tags=("vaccine", "invasion"),
    ),
    ControlSetFacts(
        owner="nadia",
        name="Gamete surface antigens",
        site_id="plasmodb",
        positive={"PF3D7_1031000": "Pfs25", "PF3D7_0209000": "P230", "PF3D7_1346700": "P48/45"},
        negative={"PF3D7_0930300": "MSP1", "PF3D7_0304600": "CSP", "PF3D7_1016300": "GBP130"},
        tags=("vaccine", "transmission"),
        is_public=True,
    ),
    ControlSetFacts(
        owner="nadia",
        name="Sexual commitment",
        site_id="plasmodb",
        positive={"PF3D7_1222600": "AP2-G", "PF3D7_0935400": "GDV1"},
        negative=_HOUSEKEEPING,
        tags=("transmission",),
    ),
    ControlSetFacts(
        owner="tomas",
        name="Rhoptry effectors",
        site_id="toxodb",
        positive={
            "TGME49_309590": "ROP1",
            "TGME49_308090": "ROP5",
            "TGME49_262730": "ROP16",
            "TGME49_205250": "ROP18",
        },
        negative={"TGME49_233460": "SAG1", "TGME49_259020": "BAG1", "TGME49_209030": "actin"},
        tags=("secreted", "virulence"),
        is_public=True,
    ),
    ControlSetFacts(
        owner="yuki",
        name="Azole targets and the gliotoxin cluster",
        site_id="fungidb",
        positive={"Afu4g06890": "cyp51A", "Afu7g03740": "cyp51B"},
        negative={"Afu6g09660": "gliP", "Afu2g17600": "pksP", "Afu1g14660": "laeA"},
        tags=("drug-resistance", "antifungal"),
        is_public=True,
    ),
    ControlSetFacts(
        owner="nadia",
        name="Glycolysis against the cytoskeleton",
        site_id="tritrypdb",
        positive={
            "Tb927.10.2010": "hexokinase 1",
            "Tb927.10.5620": "aldolase",
            "Tb927.3.3270": "PFK",
            "Tb927.6.4280": "GAPDH",
        },
        negative={"Tb927.1.2330": "beta tubulin", "Tb927.1.2340": "alpha tubulin"},
        tags=("metabolism",),
    ),
)


def _go(term: str, organism: str, operator: str = "INTERSECT") -> Search:
    parameters = {"organism": f'["{organism}"]', "go_term": term, "go_typeahead": f'["{term}"]', "go_term_slim": "No"}
    return Search(f"{term} {GO_TERMS[term]}", "GenesByGoTerm", parameters, operator)


def _signal_peptide(organism: str, operator: str = "INTERSECT") -> Search:
    return Search("Signal peptide", "GenesWithSignalPeptide", {"organism": f'["{organism}"]'}, operator)


def _membrane(organism: str, operator: str) -> Search:
    parameters = {"organism": f'["{organism}"]', "min_tm": "1", "max_tm": "20"}
    return Search("Transmembrane domains", "GenesByTransmembraneDomains", parameters, operator)


def _ec(number: str, organism: str) -> Search:
    parameters = {"organism": f'["{organism}"]', "ec_number_pattern": number, "ec_wildcard": "No"}
    return Search(f"EC {number}", "GenesByEcNumber", parameters)


def _taxon(organism: str, operator: str = "INTERSECT") -> Search:
    return Search(organism, "GenesByTaxon", {"organism": f'["{organism}"]'}, operator)


_PF: Final = "Plasmodium falciparum 3D7"
_TG: Final = "Toxoplasma gondii ME49"
_AF: Final = "Aspergillus fumigatus Af293"
_TB: Final = "Trypanosoma brucei brucei TREU927"

STRATEGIES: Final = (
    Strategy(
        "amara",
        "plasmodb",
        "Secreted enzymes as drug targets",
        (
            _go("GO:0004672", _PF),
            _go("GO:0008233", _PF, "UNION"),
            _signal_peptide(_PF),
            _membrane(_PF, "UNION"),
            _go("GO:0003735", _PF, "MINUS"),
        ),
    ),
    Strategy("amara", "plasmodb", "Translation in the apicoplast", (_go("GO:0020011", _PF), _go("GO:0006412", _PF))),
    Strategy(
        "tomas",
        "toxodb",
        "Soluble secreted proteins",
        (_taxon(_TG), _signal_peptide(_TG), _membrane(_TG, "MINUS"), _go("GO:0003735", _TG, "MINUS")),
    ),
    Strategy(
        "yuki",
        "fungidb",
        "The azole target, sterol 14-alpha demethylase",
        (_ec("1.14.14.154", _AF), _membrane(_AF, "INTERSECT")),
    ),
    Strategy(
        "nadia",
        "tritrypdb",
        "Glycolytic kinases",
        (_go("GO:0006096", _TB), _ec("2.7.1.1", _TB), _signal_peptide(_TB, "MINUS")),
    ),
)

TAB_NAME: Final = "Kinases of the blood stage"
"""What the twenty tabs all want to call their conversation."""

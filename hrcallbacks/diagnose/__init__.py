"""What is wrong with a training run, in words: `recording.diagnose()`.

`RULES` has the default rules, by name. Each is a frozen dataclass, whose fields are its
thresholds: `DeadUnits(min_records=20)`. To write your own, subclass `Rule`.

Needs no Keras; a recording on disk is read in blocks.
"""

from hrcallbacks.diagnose.diagnosis import RULES, Watch, diagnose
from hrcallbacks.diagnose.findings import Finding, Findings
from hrcallbacks.diagnose.gradient_rules import Exploding, Vanishing
from hrcallbacks.diagnose.idle_rules import Frozen, SaturatedLayer, UntouchedRows
from hrcallbacks.diagnose.outlier_rules import NotFinite, OneBatch
from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.survey import Survey
from hrcallbacks.diagnose.training_rules import LossRises, UpdateSize
from hrcallbacks.diagnose.unit_rules import DeadUnits, SaturatedUnits

__all__ = [
    "RULES",
    "CannotLook",
    "DeadUnits",
    "Exploding",
    "Finding",
    "Findings",
    "Frozen",
    "LossRises",
    "NotFinite",
    "OneBatch",
    "Rule",
    "SaturatedLayer",
    "SaturatedUnits",
    "Survey",
    "UntouchedRows",
    "UpdateSize",
    "Vanishing",
    "Watch",
    "diagnose",
]
